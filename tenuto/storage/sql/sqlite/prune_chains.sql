-- prune_chains: delete chains that nobody has held for as long as ended jobs are kept, oldest first.
-- in:    keep bigint, max int, now timestamptz
-- out:   key text
-- lock:  the write lock is held
-- plan:  chains_free
delete from chains
where rowid in (
    select rowid
    from chains
    where freed_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
    order by freed_at, key
    limit :max
)
returning key
