-- settle_workflows: count steps by their new fates (or back, when one is retried); the last one to settle finishes
--                   the workflow, and a step that lives again revives it. What its end enqueues comes with it.
-- in:    deltas json, now timestamptz
-- out:   id uuid, name text, state text, outcome text, runs int, on_finished text
-- lock:  workflows by id
-- plan:  workflows_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
d as materialized (
    select * from jsonb_to_recordset(%(deltas)s::jsonb) as d (
        id uuid, completed int, cancelled int, discarded int, deleted int)
),
locked as materialized (
    select w.id from {schema}.workflows w join d on w.id = d.id order by w.id for update of w
)
update {schema}.workflows w
set unfinished = w.unfinished - d.completed - d.cancelled - d.discarded - d.deleted,
    completed = w.completed + d.completed,
    cancelled = w.cancelled + d.cancelled,
    discarded = w.discarded + d.discarded,
    deleted = w.deleted + d.deleted,
    runs = w.runs + case
        when w.state = 'finished' and d.completed + d.cancelled + d.discarded + d.deleted < 0 then 1 else 0
    end,
    state = case
        when w.unfinished - d.completed - d.cancelled - d.discarded - d.deleted = 0 then 'finished' else 'running'
    end,
    outcome = case
        when w.unfinished - d.completed - d.cancelled - d.discarded - d.deleted > 0 then null
        when w.completed + d.completed = w.steps then 'completed'
        else 'failed'
    end,
    finished_at = case
        when w.unfinished - d.completed - d.cancelled - d.discarded - d.deleted = 0 then t.now
    end
from locked, d, t
where w.id = locked.id and d.id = locked.id
returning w.id, w.name, w.state, w.outcome, w.runs,
    case w.state when 'finished' then w.on_finished end as on_finished
