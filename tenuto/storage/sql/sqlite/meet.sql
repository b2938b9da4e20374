-- meet: mark the edges that the ended jobs meet: by completing, or by an ending the edge forgives. Each only once.
-- in:    ended json
-- out:   job_id uuid
-- lock:  the write lock is held
-- plan:  edges_needs
with x as materialized (select json_extract(value, '$.id') as id, json_extract(value, '$.state') as state from json_each(:ended))
update edges
set met = 1
from x
where edges.needs_id = x.id
    and not edges.met
    and (x.state = 'completed'
        or (x.state = 'cancelled' and edges.ignore_cancelled)
        or (x.state = 'discarded' and edges.ignore_discarded)
        or (x.state = 'deleted' and edges.ignore_deleted))
returning job_id
