-- grow_workflow: count new steps of a workflow that runs; no answer for one that has finished, or that is not there.
-- in:    id uuid, more int
-- out:   steps int
-- lock:  workflows by id
-- plan:  workflows_pkey
update {schema}.workflows
set steps = steps + %(more)s, unfinished = unfinished + %(more)s
where id = %(id)s and state = 'running'
returning steps - %(more)s as steps
