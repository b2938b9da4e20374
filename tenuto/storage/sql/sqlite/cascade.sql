-- cascade: cancel every suspended step behind a bad ending that none of its edges forgives, however far behind.
-- in:    ended json, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the write lock is held
-- plan:  edges_needs
with recursive t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
ended as materialized (select json_extract(value, '$.id') as id, json_extract(value, '$.state') as state from json_each(:ended)),
doomed (id, needs_id, state) as (
    select e.job_id, x.id, x.state
    from ended x
    join edges e on e.needs_id = x.id and not e.met
    join jobs j on j.id = e.job_id and j.state = 'suspended'
    where (x.state = 'cancelled' and not e.ignore_cancelled)
        or (x.state = 'discarded' and not e.ignore_discarded)
        or (x.state = 'deleted' and not e.ignore_deleted)
    union
    select e.job_id, d.id, 'cancelled'
    from doomed d
    join edges e on e.needs_id = d.id and not e.met and not e.ignore_cancelled
    join jobs j on j.id = e.job_id and j.state = 'suspended'
),
first as materialized (
    select d.id, min(d.needs_id) as needs_id, d.state, n.name
    from doomed d
    left join workflow_nodes n on n.job_id = d.needs_id
    group by d.id
)
update jobs
set state = 'cancelled',
    finished_at = t.now,
    errors = case jobs.errors when '[]' then '[' else substr(jobs.errors, 1, length(jobs.errors) - 1) || ',' end
        || '{"at":' || t.now || ',"attempt":' || jobs.attempt
        || ',"kind":"cancel","type":"Cancel","message":'
        || json_quote('it needs step ' || coalesce(f.name, '?') || ', which was ' || f.state)
        || ',"traceback":""}]'
from first f, t
where jobs.id = f.id and jobs.state = 'suspended'
returning id, state, queue, workflow_id, has_dependents
