-- enqueue_nodes: store the steps of one workflow.
-- in:    workflow_id uuid, nodes json
-- out:   -
-- lock:  the write lock is held
-- plan:  -
insert into workflow_nodes (
    workflow_id, name, job_id, position, worker, deps, ignore_cancelled, ignore_discarded, ignore_deleted,
    parent)
select
    :workflow_id, json_extract(value, '$.name'), json_extract(value, '$.job_id'), json_extract(value, '$.position'), json_extract(value, '$.worker'),
    json_extract(value, '$.deps'), json_extract(value, '$.ignore_cancelled'), json_extract(value, '$.ignore_discarded'), json_extract(value, '$.ignore_deleted'),
    json_extract(value, '$.parent')
from json_each(:nodes)
