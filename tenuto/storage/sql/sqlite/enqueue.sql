-- enqueue: store new jobs; one whose id or unique key is taken already is left out, and so is not in the answer.
--          What a document does not say is as usual. A key of a period is of the span of the clock that it falls into.
--          `value` is made anew wherever it is named, unless it is materialized; that would take half as long again.
-- in:    jobs json, now timestamptz
-- out:   id uuid, state text, inserted_at timestamptz, scheduled_at timestamptz
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
new as materialized (
    select value as job, t.now,
        coalesce(json_extract(value, '$.scheduled'), t.now + coalesce(json_extract(value, '$.delay'), 0)) as due,
        json_extract(value, '$.unique') as held, json_extract(value, '$.chain') as chain
    from t, json_each(:jobs)
    order by json_extract(value, '$.id')  -- they are claimed in this order, and so lie beside each other
)
insert into jobs (
    id, state, queue, worker, args, meta, tags, max_attempts, priority, waiting_on, has_needs,
    has_dependents, workflow_id, timeout, inserted_at, scheduled_at, has_hooks,
    unique_key, unique_states, unique_until, unique_held, deadline_at, deadline_force, limit_key,
    chain_key, chain_seq, chain_holds, awaited)
select
    json_extract(job, '$.id'),
    case when json_extract(job, '$.state') = 'suspended' then 'suspended' when due > now then 'scheduled' else 'available' end,
    json_extract(job, '$.queue'), json_extract(job, '$.worker'), json_extract(job, '$.args'),
    coalesce(json_extract(job, '$.meta'), '{}'), coalesce(json_extract(job, '$.tags'), '[]'),
    json_extract(job, '$.max_attempts'), coalesce(json_extract(job, '$.priority'), 0),
    coalesce(json_extract(job, '$.waiting_on'), 0), coalesce(json_extract(job, '$.has_needs'), 0),
    coalesce(json_extract(job, '$.has_dependents'), 0), json_extract(job, '$.workflow_id'),
    json_extract(job, '$.timeout'), now, due,
    coalesce(json_extract(job, '$.has_hooks'), 0),
    json_extract(held, '$.key') || coalesce(
        '/' || json_extract(held, '$.period') || '/' || (now / json_extract(held, '$.period')), ''),
    json_extract(held, '$.states'),
    (now / json_extract(held, '$.period') + 1) * json_extract(held, '$.period'),
    held is not null and instr(json_extract(held, '$.states'), case
        when json_extract(job, '$.state') = 'suspended' then 'suspended' when due > now then 'scheduled' else 'available' end) > 0,
    coalesce(json_extract(job, '$.deadline_at'), due + json_extract(job, '$.deadline')),
    coalesce(json_extract(job, '$.deadline_force'), 0),
    json_extract(job, '$.limit_key'),
    json_extract(chain, '$.key'), json_extract(chain, '$.seq'), json_extract(chain, '$.holds'),
    coalesce(json_extract(job, '$.awaited'), 0)
from new
where true
on conflict do nothing
returning id, state, inserted_at, scheduled_at
