-- prune_crons: forget entries that no node has known for longer than :keep, unless they are paused.
-- in:    keep bigint, now timestamptz
-- out:   name text
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
delete from crons
where known_until < (select now from t) - :keep and not paused
returning name
