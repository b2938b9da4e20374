-- enqueue_edges: store which job needs which. What a document does not say is false.
-- in:    edges json
-- out:   -
-- lock:  the write lock is held
-- plan:  -
with new as materialized (select value as edge from json_each(:edges))  -- once: it is made anew wherever it is named
insert into edges (job_id, needs_id, ignore_cancelled, ignore_discarded, ignore_deleted, of_group, met)
select
    json_extract(edge, '$.job_id'), json_extract(edge, '$.needs_id'),
    coalesce(json_extract(edge, '$.ignore_cancelled'), 0), coalesce(json_extract(edge, '$.ignore_discarded'), 0),
    coalesce(json_extract(edge, '$.ignore_deleted'), 0), coalesce(json_extract(edge, '$.of_group'), 0),
    coalesce(json_extract(edge, '$.met'), 0)
from new
