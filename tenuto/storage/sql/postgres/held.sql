-- held: the jobs that some producers hold, and those held by no producer there is when :strays is asked for.
-- in:    producers uuid[], except_ids uuid[], strays boolean
-- out:   id uuid, suspicions int
-- lock:  none
-- plan:  jobs_executing
select j.id, j.suspicions
from {schema}.jobs j
where j.state = 'executing'
    and j.producer_id = any(%(producers)s::uuid[])
    and j.id <> all(%(except_ids)s::uuid[])
union all
select j.id, j.suspicions
from {schema}.jobs j
where %(strays)s::boolean
    and j.state = 'executing'
    and j.producer_id is not null
    and not exists (select 1 from {schema}.producers p where p.id = j.producer_id)
limit 10000
