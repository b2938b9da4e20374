-- hold_needs: lock the jobs that new steps are to need, which from now on have dependents; those that are gone are left
--             out.
-- in:    ids uuid[]
-- out:   id uuid, state text, epoch int
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
update jobs
set has_dependents = 1
where id in (select value from json_each(:ids))
returning id, state, epoch
