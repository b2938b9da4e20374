-- prune_hooks: delete what was left for hooks longer ago than jobs are kept, oldest first.
-- in:    keep bigint, max int, now timestamptz
-- out:   job_id uuid
-- lock:  the write lock is held
-- plan:  hook_outbox_at
delete from hook_outbox
where rowid in (
    select rowid
    from hook_outbox
    where at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
    order by at
    limit :max
)
returning job_id
