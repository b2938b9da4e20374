-- delete: remove jobs that are not running; the answer says in which state each was. The chain of a link that waits
--         for its turn is not in it: such a one only leaves.
-- in:    ids uuid[]
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
delete from jobs
where id in (select value from json_each(:ids)) and state <> 'executing'
returning id, state, queue, workflow_id, has_dependents,
    case when waiting_on = 0 then chain_key end as chain_key
