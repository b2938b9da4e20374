-- settle_workflows: count steps by their new fates (or back, when one is retried); the last one to settle finishes
--                   the workflow, and a step that lives again revives it. What its end enqueues comes with it.
-- in:    deltas json, now timestamptz
-- out:   id uuid, name text, state text, outcome text, runs int, on_finished text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_workflows_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
d as materialized (
    select
        json_extract(value, '$.id') as id, json_extract(value, '$.completed') as completed, json_extract(value, '$.cancelled') as cancelled,
        json_extract(value, '$.discarded') as discarded, json_extract(value, '$.deleted') as deleted
    from json_each(:deltas)
)
update workflows
set unfinished = workflows.unfinished - d.completed - d.cancelled - d.discarded - d.deleted,
    completed = workflows.completed + d.completed,
    cancelled = workflows.cancelled + d.cancelled,
    discarded = workflows.discarded + d.discarded,
    deleted = workflows.deleted + d.deleted,
    runs = workflows.runs + case
        when workflows.state = 'finished' and d.completed + d.cancelled + d.discarded + d.deleted < 0 then 1 else 0
    end,
    state = case
        when workflows.unfinished - d.completed - d.cancelled - d.discarded - d.deleted = 0 then 'finished'
        else 'running'
    end,
    outcome = case
        when workflows.unfinished - d.completed - d.cancelled - d.discarded - d.deleted > 0 then null
        when workflows.completed + d.completed = workflows.steps then 'completed'
        else 'failed'
    end,
    finished_at = case
        when workflows.unfinished - d.completed - d.cancelled - d.discarded - d.deleted = 0 then t.now
    end
from d, t
where workflows.id = d.id
returning id, name, state, outcome, runs,
    case state when 'finished' then on_finished end as on_finished
