-- overdue: jobs that wait, in whatever way, and whose deadline has passed, the oldest deadline first.
-- in:    max int, now timestamptz
-- out:   id uuid
-- lock:  none
-- plan:  jobs_deadline
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select id
from {schema}.jobs
where state in ('suspended', 'scheduled', 'available', 'retryable') and deadline_at <= (select now from t)
order by deadline_at, id
limit %(max)s
