-- counts: how many jobs each queue holds in each state, and when the oldest of them was due.
-- in:    -
-- out:   queue text, state text, jobs bigint, oldest timestamptz
-- lock:  none
-- plan:  -
select queue, state, count(*) as jobs, min(scheduled_at) as oldest
from jobs
group by queue, state
order by queue, state
limit 10000
