-- meet: mark the edges that the ended jobs meet: by completing, or by an ending the edge forgives. Each only once.
-- in:    ended json
-- out:   job_id uuid
-- lock:  the edges; the jobs on both sides are locked already
-- plan:  edges_needs
with x as materialized (select * from jsonb_to_recordset(%(ended)s::jsonb) as x (id uuid, state text))
update {schema}.edges e
set met = true
from x
where e.needs_id = x.id
    and not e.met
    and (x.state = 'completed'
        or (x.state = 'cancelled' and e.ignore_cancelled)
        or (x.state = 'discarded' and e.ignore_discarded)
        or (x.state = 'deleted' and e.ignore_deleted))
returning e.job_id
