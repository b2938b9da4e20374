-- store_result: keep a running step's result before it settles. Fenced by epoch; no answer when the attempt is stale.
-- in:    id uuid, epoch int, result text, now timestamptz
-- out:   job_id uuid
-- lock:  the write lock is held
-- plan:  workflow_nodes_job
update workflow_nodes
set result = :result,
    result_at = coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
where job_id = :id
    and exists (select 1 from jobs where id = :id and epoch = :epoch and state = 'executing')
returning job_id
