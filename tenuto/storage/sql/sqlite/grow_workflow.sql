-- grow_workflow: count new steps of a workflow that runs; no answer for one that has finished, or that is not there.
-- in:    id uuid, more int
-- out:   steps int
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_workflows_1
update workflows
set steps = steps + :more, unfinished = unfinished + :more
where id = :id and state = 'running'
returning steps - :more as steps
