-- prune_debug: delete what was logged longer ago than that is kept.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  debug_log_at
delete from debug_log
where id in (
    select id
    from debug_log
    where at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
    order by at
    limit :max
)
returning id
