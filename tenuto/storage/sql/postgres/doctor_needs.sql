-- doctor_needs: suspended steps held by a need that has completed, or that is gone without a fate.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select e.job_id::text as id, 'its need ' || coalesce(n.name, e.needs_id::text) || ' has ended' as detail
from {schema}.edges e
join {schema}.jobs c on c.id = e.job_id and c.state = 'suspended'
left join {schema}.workflow_nodes n on n.job_id = e.needs_id
left join {schema}.jobs j on j.id = e.needs_id
where not e.met and (n.fate is not null or n.job_id is null or j.id is null)
limit 100
