-- lock_job: lock one job, so that no signal comes to it while it begins to wait.
-- in:    id uuid, patience text
-- out:   id uuid, state text, workflow_id uuid
-- lock:  the job
-- plan:  jobs_pkey
select id, state, workflow_id
from {schema}.jobs
where id = %(id)s
    and (select set_config('lock_timeout', %(patience)s, true)) is not null  -- for the whole transaction
for no key update
