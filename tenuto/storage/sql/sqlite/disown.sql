-- disown: give back, unspent and unsuspected, jobs that a living node holds and does not run.
-- in:    ids uuid[], producers uuid[], cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = case when cancel_requested_at is null then 'available' else 'cancelled' end,
    attempt = attempt - 1,
    epoch = epoch + 1,
    finished_at = case when cancel_requested_at is not null then (select now from t) end,
    errors = case
        when cancel_requested_at is null then errors
        else case errors when '[]' then '[' else substr(errors, 1, length(errors) - 1) || ',' end
            || '{"at":' || (select now from t) || ',"attempt":' || attempt
            || ',' || substr(:cancelled, 2) || ']'
    end
where id in (select value from json_each(:ids))
    and state = 'executing'
    and producer_id in (select value from json_each(:producers))
returning id, state, queue, workflow_id, has_dependents, chain_key
