-- cancel_overdue: cancel jobs that still wait and whose deadline has passed.
--         The chain of a link that waits for its turn is not in the answer: such a one only leaves.
-- in:    ids uuid[], error text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = 'cancelled',
    finished_at = (select now from t),
    errors = case errors when '[]' then '[' else substr(errors, 1, length(errors) - 1) || ',' end
        || '{"at":' || (select now from t) || ',"attempt":' || attempt
        || ',' || substr(:error, 2) || ']'
where id in (select value from json_each(:ids))
    and state in ('suspended', 'scheduled', 'available', 'retryable')
    and deadline_at <= (select now from t)
returning id, state, queue, workflow_id, has_dependents,
    case when waiting_on = 0 then chain_key end as chain_key
