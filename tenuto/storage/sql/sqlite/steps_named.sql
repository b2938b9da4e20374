-- steps_named: those of some steps of a workflow that there are, with their fates and flags.
-- in:    workflow_id uuid, names text[]
-- out:   name text, job_id uuid, fate text, is_group boolean, ignore_cancelled boolean, ignore_discarded boolean,
--        ignore_deleted boolean
-- lock:  none
-- plan:  sqlite_autoindex_workflow_nodes_1
select
    name, job_id, fate, worker = 'tenuto.group' as is_group, ignore_cancelled, ignore_discarded, ignore_deleted
from workflow_nodes
where workflow_id = :workflow_id and name in (select value from json_each(:names))
