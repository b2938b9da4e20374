-- prune_edges: delete the edges of workflows that are no longer kept.
-- in:    workflows uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_edges_1
delete from edges
where job_id in (
    select job_id from workflow_nodes where workflow_id in (select value from json_each(:workflows)))
