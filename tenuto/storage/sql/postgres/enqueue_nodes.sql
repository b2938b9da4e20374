-- enqueue_nodes: store the steps of one workflow. What a document does not say is as usual.
-- in:    workflow_id uuid, nodes json
-- out:   -
-- lock:  none but the new rows
-- plan:  -
insert into {schema}.workflow_nodes (
    workflow_id, name, job_id, position, worker, deps, ignore_cancelled, ignore_discarded, ignore_deleted,
    parent)
select
    %(workflow_id)s::uuid, name, job_id, position, worker, coalesce(deps, '[]'), coalesce(ignore_cancelled, false),
    coalesce(ignore_discarded, false), coalesce(ignore_deleted, false), parent
from jsonb_to_recordset(%(nodes)s::jsonb) as n (
    name text, job_id uuid, position int, worker text, deps text, ignore_cancelled boolean,
    ignore_discarded boolean, ignore_deleted boolean, parent text)
