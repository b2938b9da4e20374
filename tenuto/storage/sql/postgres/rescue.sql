-- rescue: take jobs back from processes that died. Each death is a suspicion against all that ran in it; the third
--         one of the only suspect in a process discards it. No attempt is spent.
-- in:    ids uuid[], producers uuid[], error text, cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
suspects as materialized (
    select p.node, count(*) as suspects
    from {schema}.jobs j
    join {schema}.producers p on p.id = j.producer_id
    where j.id = any(%(ids)s::uuid[]) and j.state = 'executing' and j.suspicions > 0
    group by p.node
),
taken as materialized (
    select j.id,
        case
            when j.cancel_requested_at is not null then 'cancelled'
            when j.suspicions >= 2 and s.suspects = 1 then 'discarded'
            else 'available'
        end as state
    from {schema}.jobs j
    left join {schema}.producers p on p.id = j.producer_id
    left join suspects s on s.node = p.node
    where j.id = any(%(ids)s::uuid[])
        and j.state = 'executing'
        and (p.id is null or p.id = any(%(producers)s::uuid[]))  -- nobody living claimed it meanwhile
)
update {schema}.jobs j
set state = taken.state,
    attempt = j.attempt - 1,
    epoch = j.epoch + 1,
    rescues = j.rescues + 1,
    suspicions = j.suspicions + 1,
    finished_at = case when taken.state <> 'available' then t.now end,
    errors = case taken.state
        when 'available' then j.errors
        else case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
            || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt || ','
            || substr(case taken.state when 'discarded' then %(error)s else %(cancelled)s end, 2) || ']'
    end
from taken, t
where j.id = taken.id
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents, j.chain_key
