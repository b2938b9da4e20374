-- overdue: jobs that wait, in whatever way, and whose deadline has passed, the oldest deadline first.
-- in:    max int, now timestamptz
-- out:   id uuid
-- lock:  none
-- plan:  jobs_deadline
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select id
from jobs
where state in ('suspended', 'scheduled', 'available', 'retryable') and deadline_at <= (select now from t)
order by deadline_at, id
limit :max
