-- enqueue_edges: store which job needs which. What a document does not say is false.
-- in:    edges json
-- out:   -
-- lock:  none but the new rows
-- plan:  -
insert into {schema}.edges (job_id, needs_id, ignore_cancelled, ignore_discarded, ignore_deleted, of_group, met)
select
    job_id, needs_id, coalesce(ignore_cancelled, false), coalesce(ignore_discarded, false),
    coalesce(ignore_deleted, false), coalesce(of_group, false), coalesce(met, false)
from jsonb_to_recordset(%(edges)s::jsonb) as e (
    job_id uuid, needs_id uuid, ignore_cancelled boolean, ignore_discarded boolean, ignore_deleted boolean,
    of_group boolean, met boolean)
