-- prune_workflows: delete workflows that are no longer kept, after their steps.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_workflows_1
delete from workflows
where id in (select value from json_each(:workflows))
