-- prune_steps: delete the ended jobs of workflows that are no longer kept.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the workflows are locked already
-- plan:  jobs_workflow
delete from {schema}.jobs
where workflow_id = any(%(workflows)s::uuid[]) and state in ('completed', 'cancelled', 'discarded')
