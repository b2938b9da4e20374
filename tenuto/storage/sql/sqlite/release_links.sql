-- release_links: let the links that hold their chains now have their turn: due at once, or when it was asked. One that
--                was cancelled or deleted meanwhile is not in the answer.
-- in:    ids uuid[], now timestamptz
-- out:   id uuid, state text, queue text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = case
        when state <> 'suspended' then state
        when scheduled_at > (select now from t) then 'scheduled'
        else 'available'
    end,
    waiting_on = 0
where id in (select value from json_each(:ids)) and (state = 'suspended' or instr(chain_holds, state) > 0)
returning id, state, queue
