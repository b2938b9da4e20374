-- update: change what was asked of jobs that neither run nor ended; a null leaves a field as it is.
-- in:    changes json, now timestamptz
-- out:   id uuid, state text, queue text
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
c as materialized (
    select c.*, coalesce('epoch'::timestamptz + c.scheduled * interval '1 microsecond',
                         t.now + c.delay * interval '1 microsecond') as due, t.now
    from t, jsonb_to_recordset(%(changes)s::jsonb) as c (
        id uuid, queue text, args text, meta text, tags text, max_attempts int, priority smallint,
        timeout bigint, scheduled bigint, delay bigint)
)
update {schema}.jobs j
set queue = coalesce(c.queue, j.queue),
    args = coalesce(c.args, j.args),
    meta = coalesce(c.meta, j.meta),
    tags = coalesce(c.tags, j.tags),
    max_attempts = coalesce(c.max_attempts, j.max_attempts),
    priority = coalesce(c.priority, j.priority),
    timeout = coalesce(c.timeout, j.timeout),
    scheduled_at = coalesce(c.due, j.scheduled_at),
    state = case
        when c.due is null or j.state not in ('available', 'scheduled') then j.state
        when c.due > c.now then 'scheduled'
        else 'available'
    end
from c
where j.id = c.id and j.state in ('suspended', 'scheduled', 'available', 'retryable')
returning j.id, j.state, j.queue
