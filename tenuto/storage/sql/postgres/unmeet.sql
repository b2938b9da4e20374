-- unmeet: steps that are retried are needs again: their edges to steps that still wait, have ended, or are retried with
--         them, are met no more.
-- in:    ids uuid[]
-- out:   job_id uuid
-- lock:  the edges; the jobs on both sides are locked already
-- plan:  edges_needs
update {schema}.edges e
set met = false
from {schema}.jobs j
where e.needs_id = any(%(ids)s::uuid[])
    and e.met
    and j.id = e.job_id
    and (j.state in ('suspended', 'completed', 'cancelled', 'discarded') or j.id = any(%(ids)s::uuid[]))
returning e.job_id
