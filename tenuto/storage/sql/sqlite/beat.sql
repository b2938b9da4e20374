-- beat: renew the leases of a node that still hold; one that ended stays ended.
-- in:    producers uuid[], ttl bigint, health text, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_producers_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update producers
set expires_at = (select now from t) + :ttl,
    health = :health
where id in (select value from json_each(:producers)) and expires_at > (select now from t)
returning id
