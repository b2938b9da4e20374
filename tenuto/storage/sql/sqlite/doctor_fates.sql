-- doctor_fates: steps whose job ended without a fate being written, or with another one.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select n.job_id as id, 'its job is ' || coalesce(j.state, 'gone') || ', its fate ' || coalesce(n.fate, 'open') as detail
from workflow_nodes n
left join jobs j on j.id = n.job_id
where case
        when j.id is null then n.fate is null
        when j.state in ('completed', 'cancelled', 'discarded') then n.fate is not j.state
        else n.fate is not null
    end
limit 100
