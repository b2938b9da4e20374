-- enqueue: store new jobs; one whose id or unique key is taken already is left out, and so is not in the answer.
--          What a document does not say is as usual. A key of a period is of the span of the clock that it falls into.
-- in:    jobs json, now timestamptz
-- out:   id uuid, state text, inserted_at timestamptz, scheduled_at timestamptz
-- lock:  none but the new rows, and for two seconds those of others that store the same
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
tick as materialized (select (extract(epoch from now) * 1000000)::bigint as tick from t),
new as (
    select n.*, coalesce('epoch'::timestamptz + n.scheduled * interval '1 microsecond',
                         t.now + coalesce(n.delay, 0) * interval '1 microsecond') as due, t.now,
        n."unique"::json as kept, (n."unique"::json ->> 'period')::bigint as period
    from t, json_to_recordset(%(jobs)s::json) as n (
        id uuid, state text, queue text, worker text, args text, meta text, tags text, max_attempts int,
        priority smallint, waiting_on int, has_needs boolean, has_dependents boolean, workflow_id uuid,
        timeout bigint, scheduled bigint, delay bigint, has_hooks boolean, "unique" text,
        deadline bigint, deadline_at bigint, deadline_force boolean, limit_key text,
        chain json, awaited boolean)
)
insert into {schema}.jobs (
    id, state, queue, worker, args, meta, tags, max_attempts, priority, waiting_on, has_needs,
    has_dependents, workflow_id, timeout, inserted_at, scheduled_at, has_hooks,
    unique_key, unique_states, unique_until, unique_held, deadline_at, deadline_force, limit_key,
    chain_key, chain_seq, chain_holds, awaited)
select
    id, case when state = 'suspended' then state when due > now then 'scheduled' else 'available' end,
    queue, worker, args, coalesce(meta, '{}'), coalesce(tags, '[]'), max_attempts, coalesce(priority, 0),
    coalesce(waiting_on, 0), coalesce(has_needs, false), coalesce(has_dependents, false), workflow_id, timeout, now,
    due, coalesce(has_hooks, false),
    (kept ->> 'key') || case when period is null then '' else '/' || period || '/' || tick / period end,
    kept ->> 'states',
    'epoch'::timestamptz + (tick / period + 1) * period * interval '1 microsecond',
    strpos(kept ->> 'states', case
        when state = 'suspended' then state when due > now then 'scheduled' else 'available' end) > 0,
    coalesce('epoch'::timestamptz + deadline_at * interval '1 microsecond',
             due + deadline * interval '1 microsecond'), coalesce(deadline_force, false), limit_key,
    chain ->> 'key', (chain ->> 'seq')::bigint, chain ->> 'holds', coalesce(awaited, false)
from new, tick
where (select set_config('lock_timeout', '2s', true)) is not null
    and (chain is null or chain ->> 'seq' is not null)  -- a link without a number was stored a moment ago
on conflict do nothing
returning id, state, inserted_at, scheduled_at
