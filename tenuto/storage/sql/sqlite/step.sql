-- step: one step of a workflow by name, with its result.
-- in:    workflow_id uuid, name text
-- out:   job_id uuid, fate text, result text, worker text
-- lock:  none
-- plan:  sqlite_autoindex_workflow_nodes_1
select job_id, fate, result, worker
from workflow_nodes
where workflow_id = :workflow_id and name = :name
