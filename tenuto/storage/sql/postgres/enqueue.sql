-- enqueue: store new jobs; one whose id is taken already is left out, and so is not in the answer.
--          What a document does not say is as usual.
-- in:    jobs json, now timestamptz
-- out:   id uuid, state text, inserted_at timestamptz, scheduled_at timestamptz
-- lock:  none but the new rows
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
new as (
    select n.*, coalesce('epoch'::timestamptz + n.scheduled * interval '1 microsecond',
                         t.now + coalesce(n.delay, 0) * interval '1 microsecond') as due, t.now
    from t, json_to_recordset(%(jobs)s::json) as n (
        id uuid, state text, queue text, worker text, args text, meta text, tags text, max_attempts int,
        priority smallint, waiting_on int, has_needs boolean, has_dependents boolean, workflow_id uuid,
        timeout bigint, scheduled bigint, delay bigint, limit_key text)
)
insert into {schema}.jobs (
    id, state, queue, worker, args, meta, tags, max_attempts, priority, waiting_on, has_needs,
    has_dependents, workflow_id, timeout, inserted_at, scheduled_at, limit_key)
select
    id, case when state = 'suspended' then state when due > now then 'scheduled' else 'available' end,
    queue, worker, args, coalesce(meta, '{}'), coalesce(tags, '[]'), max_attempts, coalesce(priority, 0),
    coalesce(waiting_on, 0), coalesce(has_needs, false), coalesce(has_dependents, false), workflow_id, timeout, now, due,
    limit_key
from new
on conflict (id) do nothing
returning id, state, inserted_at, scheduled_at
