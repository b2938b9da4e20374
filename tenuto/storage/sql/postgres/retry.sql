-- retry: make jobs due again at once, with room for one more attempt; never one that still waits for its needs.
-- in:    ids uuid[], now timestamptz
-- out:   id uuid, queue text, workflow_id uuid
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = 'available',
    max_attempts = greatest(j.max_attempts, j.attempt + 1),
    scheduled_at = least(j.scheduled_at, t.now),
    finished_at = null,
    cancel_requested_at = null,
    suspicions = 0
from t
where j.id = any(%(ids)s::uuid[])
    and j.state in ('scheduled', 'retryable', 'completed', 'cancelled', 'discarded')
    and j.waiting_on = 0
returning j.id, j.queue, j.workflow_id
