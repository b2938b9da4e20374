-- stage: make due what was scheduled or waits for a retry, oldest first.
-- in:    max int, now timestamptz
-- out:   queue text
-- lock:  skips rows another node holds
-- plan:  jobs_stage
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
due as materialized (
    select j.ctid
    from {schema}.jobs j
    where j.state in ('scheduled', 'retryable') and j.scheduled_at <= (select now from t)
    order by j.scheduled_at, j.id
    limit %(max)s
    for update skip locked
)
update {schema}.jobs j
set state = 'available'
from due
where j.ctid = due.ctid
returning j.queue
