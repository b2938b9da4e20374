-- enqueue_nodes: store the steps of one workflow. What a document does not say is as usual.
-- in:    workflow_id uuid, nodes json
-- out:   -
-- lock:  the write lock is held
-- plan:  -
with new as materialized (select value as node from json_each(:nodes))  -- once: it is made anew wherever it is named
insert into workflow_nodes (
    workflow_id, name, job_id, position, worker, deps, ignore_cancelled, ignore_discarded, ignore_deleted,
    parent)
select
    :workflow_id, json_extract(node, '$.name'), json_extract(node, '$.job_id'), json_extract(node, '$.position'),
    json_extract(node, '$.worker'), coalesce(json_extract(node, '$.deps'), '[]'),
    coalesce(json_extract(node, '$.ignore_cancelled'), 0), coalesce(json_extract(node, '$.ignore_discarded'), 0),
    coalesce(json_extract(node, '$.ignore_deleted'), 0), json_extract(node, '$.parent')
from new
