-- prune_workflows: delete workflows that are no longer kept, after their steps.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the workflows are locked already
-- plan:  workflows_pkey
delete from {schema}.workflows
where id = any(%(workflows)s::uuid[])
