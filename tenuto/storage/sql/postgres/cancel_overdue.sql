-- cancel_overdue: cancel jobs that still wait and whose deadline has passed.
--         The chain of a link that waits for its turn is not in the answer: such a one only leaves.
-- in:    ids uuid[], error text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the jobs are locked already, by reach_free
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = 'cancelled',
    finished_at = t.now,
    errors = case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
        || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt
        || ',' || substr(%(error)s::text, 2) || ']'
from t
where j.id = any(%(ids)s::uuid[])
    and coalesce(j.state in ('suspended', 'scheduled', 'available', 'retryable'), false)  -- so that old statistics do not choose the plan
    and coalesce(j.deadline_at <= t.now, false)
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents,
    case when j.waiting_on = 0 then j.chain_key end as chain_key
