-- complete_groups: end those groups, of some, that wait for nothing more.
-- in:    ids uuid[], now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = 'completed', finished_at = t.now
from t
where j.id = any(%(ids)s::uuid[])
    and coalesce(j.state = 'suspended' and j.worker = 'tenuto.group' and j.waiting_on = 0, false)
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents
