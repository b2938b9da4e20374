-- cancel: end jobs that are not running; mark the running ones, whose ending then turns into cancelled.
--         The chain of a link that waits for its turn is not in the answer: such a one only leaves.
-- in:    ids uuid[], error text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = case state when 'executing' then state else 'cancelled' end,
    cancel_requested_at = case state
        when 'executing' then coalesce(cancel_requested_at, (select now from t)) else cancel_requested_at
    end,
    finished_at = case state when 'executing' then finished_at else (select now from t) end,
    errors = case
        when state = 'executing' then errors
        else case errors when '[]' then '[' else substr(errors, 1, length(errors) - 1) || ',' end
            || '{"at":' || (select now from t) || ',"attempt":' || attempt
            || ',' || substr(:error, 2) || ']'
    end
where id in (select value from json_each(:ids))
    and state not in ('completed', 'cancelled', 'discarded')
    and (state <> 'executing' or cancel_requested_at is null)
returning id, state, queue, workflow_id, has_dependents,
    case when waiting_on = 0 then chain_key end as chain_key
