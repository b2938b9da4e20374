-- cron_pause: pause an entry, or resume it; what was due meanwhile is not fired any more.
-- in:    name text, paused boolean, now timestamptz
-- out:   name text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_crons_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update crons
set paused = :paused,
    done_until = case when paused and not :paused then max(done_until, (select now from t)) else done_until end
where name = :name
returning name
