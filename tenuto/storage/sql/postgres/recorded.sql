-- recorded: what one job recorded; null for nothing.
-- in:    id uuid
-- out:   recorded text
-- lock:  none
-- plan:  jobs_pkey
select recorded
from {schema}.jobs
where id = %(id)s
