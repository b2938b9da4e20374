-- recorded: what one job recorded, null for nothing, and its worker.
-- in:    id uuid
-- out:   recorded text, worker text
-- lock:  none
-- plan:  jobs_pkey
select recorded, worker
from {schema}.jobs
where id = %(id)s
