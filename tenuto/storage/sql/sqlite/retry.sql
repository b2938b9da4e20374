-- retry: make jobs due again at once, with room for one more attempt; never one that still waits for its needs.
-- in:    ids uuid[], now timestamptz
-- out:   id uuid, queue text, workflow_id uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = 'available',
    max_attempts = max(max_attempts, attempt + 1),
    scheduled_at = min(scheduled_at, (select now from t)),
    finished_at = null,
    cancel_requested_at = null,
    suspicions = 0
where id in (select value from json_each(:ids))
    and state in ('scheduled', 'retryable', 'completed', 'cancelled', 'discarded')
    and waiting_on = 0
returning id, queue, workflow_id
