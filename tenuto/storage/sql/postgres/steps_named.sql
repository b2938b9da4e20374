-- steps_named: those of some steps of a workflow that there are, with their fates and flags.
-- in:    workflow_id uuid, names text[]
-- out:   name text, job_id uuid, fate text, is_group boolean, ignore_cancelled boolean, ignore_discarded boolean,
--        ignore_deleted boolean
-- lock:  none
-- plan:  workflow_nodes_pkey
select
    name, job_id, fate, worker = 'tenuto.group' as is_group, ignore_cancelled, ignore_discarded, ignore_deleted
from {schema}.workflow_nodes
where workflow_id = %(workflow_id)s and name = any(%(names)s::text[])
