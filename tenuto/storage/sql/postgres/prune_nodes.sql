-- prune_nodes: delete the nodes of workflows that are no longer kept.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the workflows are locked already
-- plan:  workflow_nodes_pkey
delete from {schema}.workflow_nodes
where workflow_id = any(%(workflows)s::uuid[])
