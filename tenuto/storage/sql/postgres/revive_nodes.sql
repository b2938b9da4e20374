-- revive_nodes: steps that an operator retried have no fate again, and no stored result unless it is kept.
-- in:    ids uuid[], keep_results boolean
-- out:   -
-- lock:  the nodes; their jobs are locked already
-- plan:  workflow_nodes_job
update {schema}.workflow_nodes
set fate = null,
    result = case when %(keep_results)s::boolean then result end,
    result_at = case when %(keep_results)s::boolean then result_at end
where job_id = any(%(ids)s::uuid[])
