-- lock_job: lock one job, so that no signal comes to it while it begins to wait.
-- in:    id uuid, patience text
-- out:   id uuid, state text, workflow_id uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
select id, state, workflow_id
from jobs
where id = :id and :patience is not null
