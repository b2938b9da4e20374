-- cascade: cancel every suspended step behind a bad ending that none of its edges forgives, however far behind.
-- in:    ended json, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the jobs are locked already, by reach
-- plan:  edges_needs
with recursive t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
ended as materialized (select * from jsonb_to_recordset(%(ended)s::jsonb) as x (id uuid, state text)),
doomed (id, needs_id, state) as (
    select e.job_id, x.id, x.state
    from ended x
    join {schema}.edges e on e.needs_id = x.id and not e.met
    join {schema}.jobs j on j.id = e.job_id and coalesce(j.state = 'suspended', false)
    where (x.state = 'cancelled' and not e.ignore_cancelled)
        or (x.state = 'discarded' and not e.ignore_discarded)
        or (x.state = 'deleted' and not e.ignore_deleted)
    union
    select e.job_id, d.id, 'cancelled'
    from doomed d
    cross join lateral (
        select e.job_id
        from {schema}.edges e
        join {schema}.jobs j on j.id = e.job_id and coalesce(j.state = 'suspended', false)
        where e.needs_id = d.id and not e.met and not e.ignore_cancelled
        offset 0  -- step by step along the index: joined as a whole, each turn would read every edge there is
    ) e
),
first as materialized (
    select distinct on (d.id) d.id, d.state, n.name
    from doomed d
    left join {schema}.workflow_nodes n on n.job_id = d.needs_id
    order by d.id, d.needs_id
)
update {schema}.jobs j
set state = 'cancelled',
    finished_at = t.now,
    errors = case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
        || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt
        || ',"kind":"cancel","type":"Cancel","message":'
        || to_json('it needs step ' || coalesce(f.name, '?') || ', which was ' || f.state)::text
        || ',"traceback":""}]'
from first f, t
where j.id = f.id and coalesce(j.state = 'suspended', false)  -- so that old statistics do not choose the plan
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents
