-- update: change what was asked of jobs that neither run nor ended; a null leaves a field as it is.
-- in:    changes json, now timestamptz
-- out:   id uuid, state text, queue text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
c as materialized (
    select
        json_extract(value, '$.id') as id, json_extract(value, '$.queue') as queue, json_extract(value, '$.args') as args,
        json_extract(value, '$.meta') as meta, json_extract(value, '$.tags') as tags, json_extract(value, '$.max_attempts') as max_attempts,
        json_extract(value, '$.priority') as priority, json_extract(value, '$.timeout') as timeout,
        coalesce(json_extract(value, '$.scheduled'), t.now + json_extract(value, '$.delay')) as due, t.now
    from t, json_each(:changes)
)
update jobs
set queue = coalesce(c.queue, jobs.queue),
    args = coalesce(c.args, jobs.args),
    meta = coalesce(c.meta, jobs.meta),
    tags = coalesce(c.tags, jobs.tags),
    max_attempts = coalesce(c.max_attempts, jobs.max_attempts),
    priority = coalesce(c.priority, jobs.priority),
    timeout = coalesce(c.timeout, jobs.timeout),
    scheduled_at = coalesce(c.due, jobs.scheduled_at),
    state = case
        when c.due is null or jobs.state not in ('available', 'scheduled') then jobs.state
        when c.due > c.now then 'scheduled'
        else 'available'
    end
from c
where jobs.id = c.id and jobs.state in ('suspended', 'scheduled', 'available', 'retryable')
returning id, state, queue
