-- delete: remove jobs that are not running; the answer says in which state each was. The chain of a link that waits
--         for its turn is not in it: such a one only leaves.
-- in:    ids uuid[]
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
delete from {schema}.jobs
where id = any(%(ids)s::uuid[]) and state <> 'executing'
returning id, state, queue, workflow_id, has_dependents,
    case when waiting_on = 0 then chain_key end as chain_key
