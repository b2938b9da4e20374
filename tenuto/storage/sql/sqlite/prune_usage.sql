-- prune_usage: delete what was used longer ago than that is kept, unless its workflow is still there.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  usage_at
delete from usage
where id in (
    select u.id
    from usage u
    where u.at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
        and not exists (select 1 from workflows w where w.id = u.workflow_id)
    order by u.at
    limit :max
)
returning id
