-- store_result: keep a running step's result before it settles. Fenced by epoch; no answer when the attempt is stale.
-- in:    id uuid, epoch int, result text, now timestamptz
-- out:   job_id uuid
-- lock:  the job's row is shared, so that it cannot be taken away meanwhile; then the node
-- plan:  workflow_nodes_job
with mine as materialized (
    select id from {schema}.jobs where id = %(id)s and epoch = %(epoch)s and state = 'executing' for share
)
update {schema}.workflow_nodes n
set result = %(result)s,
    result_at = coalesce(%(now)s::timestamptz, clock_timestamp())
from mine
where n.job_id = mine.id
returning n.job_id
