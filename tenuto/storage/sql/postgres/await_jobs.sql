-- await_jobs: have jobs that have not ended keep their answers from now on.
-- in:    ids uuid[], patience text
-- out:   id uuid, state text
-- lock:  jobs by id
-- plan:  jobs_pkey
with b as materialized (
    select id
    from {schema}.jobs
    where id = any(%(ids)s::uuid[]) and not awaited and state not in ('completed', 'cancelled', 'discarded')
        and (select set_config('lock_timeout', %(patience)s, true)) is not null
    order by id
    for update
)
update {schema}.jobs j
set awaited = true
from b
where j.id = b.id
returning j.id, j.state
