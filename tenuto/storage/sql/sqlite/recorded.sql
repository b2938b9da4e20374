-- recorded: what one job recorded, null for nothing, and its worker.
-- in:    id uuid
-- out:   recorded text, worker text
-- lock:  none
-- plan:  sqlite_autoindex_jobs_1
select recorded, worker
from jobs
where id = :id
