-- step: one step of a workflow by name, with its result.
-- in:    workflow_id uuid, name text
-- out:   job_id uuid, fate text, result text, worker text
-- lock:  none
-- plan:  workflow_nodes_pkey
select job_id, fate, result, worker
from {schema}.workflow_nodes
where workflow_id = %(workflow_id)s and name = %(name)s
