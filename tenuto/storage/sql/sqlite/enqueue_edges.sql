-- enqueue_edges: store which job needs which.
-- in:    edges json
-- out:   -
-- lock:  the write lock is held
-- plan:  -
insert into edges (job_id, needs_id, ignore_cancelled, ignore_discarded, ignore_deleted, of_group, met)
select
    json_extract(value, '$.job_id'), json_extract(value, '$.needs_id'), json_extract(value, '$.ignore_cancelled'),
    json_extract(value, '$.ignore_discarded'), json_extract(value, '$.ignore_deleted'),
    json_extract(value, '$.of_group'), json_extract(value, '$.met')
from json_each(:edges)
