-- settle_nodes: write the fate and the result of steps that ended; the answer holds those that had no fate yet.
-- in:    nodes json, now timestamptz
-- out:   workflow_id uuid, fate text
-- lock:  the write lock is held
-- plan:  workflow_nodes_job
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
x as materialized (
    select json_extract(value, '$.id') as id, json_extract(value, '$.state') as state, json_extract(value, '$.result') as result
    from json_each(:nodes)
)
update workflow_nodes
set fate = x.state,
    result = coalesce(x.result, workflow_nodes.result),
    result_at = case when x.result is null then workflow_nodes.result_at else t.now end
from x, t
where workflow_nodes.job_id = x.id and workflow_nodes.fate is null
returning workflow_id, fate
