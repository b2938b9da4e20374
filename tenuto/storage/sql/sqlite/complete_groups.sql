-- complete_groups: end those groups, of some, that wait for nothing more.
-- in:    ids uuid[], now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
update jobs
set state = 'completed',
    finished_at = coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
where id in (select value from json_each(:ids))
    and state = 'suspended' and worker = 'tenuto.group' and waiting_on = 0
returning id, state, queue, workflow_id, has_dependents
