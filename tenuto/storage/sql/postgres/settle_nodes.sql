-- settle_nodes: write the fate and the result of steps that ended; the answer holds those that had no fate yet.
-- in:    nodes json, now timestamptz
-- out:   workflow_id uuid, fate text
-- lock:  the nodes; their jobs are locked already
-- plan:  workflow_nodes_job
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
x as materialized (
    select * from jsonb_to_recordset(%(nodes)s::jsonb) as x (id uuid, state text, result text)
)
update {schema}.workflow_nodes n
set fate = x.state,
    result = coalesce(x.result, n.result),
    result_at = case when x.result is null then n.result_at else t.now end
from x, t
where n.job_id = x.id and coalesce(n.fate is null, false)  -- so that old statistics do not choose the plan
returning n.workflow_id, n.fate
