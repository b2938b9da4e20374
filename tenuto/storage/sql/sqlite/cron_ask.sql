-- cron_ask: ask the nodes that know an entry to run it once, now.
-- in:    name text, now timestamptz
-- out:   name text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_crons_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update crons
set asked = 1
where name = :name and known_until > (select now from t)
returning name
