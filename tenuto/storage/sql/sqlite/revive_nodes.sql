-- revive_nodes: steps that an operator retried have no fate again, and no stored result unless it is kept.
-- in:    ids uuid[], keep_results boolean
-- out:   -
-- lock:  the write lock is held
-- plan:  workflow_nodes_job
update workflow_nodes
set fate = null,
    result = case when :keep_results then result end,
    result_at = case when :keep_results then result_at end
where job_id in (select value from json_each(:ids))
