-- prune_rates: forget buckets that are full again: one that is not there is full.
-- in:    max int, now timestamptz
-- out:   queue text
-- lock:  the write lock is held
-- plan:  -
delete from rates
where rowid in (
    select rowid
    from rates
    where full_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
    limit :max
)
returning queue
