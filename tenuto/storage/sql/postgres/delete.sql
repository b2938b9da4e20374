-- delete: remove jobs that are not running; the answer says in which state each was.
-- in:    ids uuid[]
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
delete from {schema}.jobs
where id = any(%(ids)s::uuid[]) and state <> 'executing'
returning id, state, queue, workflow_id, has_dependents
