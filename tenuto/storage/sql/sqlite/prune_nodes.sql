-- prune_nodes: delete the nodes of workflows that are no longer kept.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_workflow_nodes_1
delete from workflow_nodes
where workflow_id in (select value from json_each(:workflows))
