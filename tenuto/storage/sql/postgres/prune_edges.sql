-- prune_edges: delete the edges of workflows that are no longer kept.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the workflows are locked already
-- plan:  edges_pkey
delete from {schema}.edges
where job_id in (select job_id from {schema}.workflow_nodes where workflow_id = any(%(workflows)s::uuid[]))
