-- take_hooks: take away what was left for the hooks of some workers, oldest first; nobody else gets it.
-- in:    workers text[], max int
-- out:   job_id uuid, worker text, state text, reason text, at timestamptz
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_hook_outbox_1
delete from hook_outbox
where rowid in (
    select rowid
    from hook_outbox
    where worker in (select value from json_each(:workers))
    order by at, job_id
    limit :max
)
returning job_id, worker, state, reason, at
