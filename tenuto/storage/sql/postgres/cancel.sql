-- cancel: end jobs that are not running; mark the running ones, whose ending then turns into cancelled.
--         The chain of a link that waits for its turn is not in the answer: such a one only leaves.
-- in:    ids uuid[], error text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = case j.state when 'executing' then j.state else 'cancelled' end,
    cancel_requested_at = case j.state
        when 'executing' then coalesce(j.cancel_requested_at, t.now) else j.cancel_requested_at
    end,
    finished_at = case j.state when 'executing' then j.finished_at else t.now end,
    errors = case
        when j.state = 'executing' then j.errors
        else case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
            || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt
            || ',' || substr(%(error)s::text, 2) || ']'
    end
from t
where j.id = any(%(ids)s::uuid[])
    and j.state not in ('completed', 'cancelled', 'discarded')
    and (j.state <> 'executing' or j.cancel_requested_at is null)
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents,
    case when j.waiting_on = 0 then j.chain_key end as chain_key
