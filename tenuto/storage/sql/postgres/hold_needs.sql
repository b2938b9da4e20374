-- hold_needs: lock the jobs that new steps are to need, which from now on have dependents; those that are gone are left
--             out.
-- in:    ids uuid[]
-- out:   id uuid, state text, epoch int
-- lock:  jobs by id
-- plan:  jobs_pkey
with held as materialized (
    select j.id
    from {schema}.jobs j
    where j.id = any(%(ids)s::uuid[])
        and (select set_config('lock_timeout', '2s', true)) is not null  -- for the whole transaction
    order by j.id
    for update
)
update {schema}.jobs j
set has_dependents = true
from held
where j.id = held.id
returning j.id, j.state, j.epoch
