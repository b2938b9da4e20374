-- prune_steps: delete the ended jobs of workflows that are no longer kept.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  jobs_workflow
delete from jobs
where workflow_id in (select value from json_each(:workflows)) and state in ('completed', 'cancelled', 'discarded')
