-- recorded: what one job recorded; null for nothing.
-- in:    id uuid
-- out:   recorded text
-- lock:  none
-- plan:  sqlite_autoindex_jobs_1
select recorded
from jobs
where id = :id
