-- unmeet: steps that are retried are needs again: their edges to steps that still wait, have ended, or are retried with
--         them, are met no more.
-- in:    ids uuid[]
-- out:   job_id uuid
-- lock:  the write lock is held
-- plan:  edges_needs
update edges
set met = 0
from jobs j
where edges.needs_id in (select value from json_each(:ids))
    and edges.met
    and j.id = edges.job_id
    and (j.state in ('suspended', 'completed', 'cancelled', 'discarded') or j.id in (select value from json_each(:ids)))
returning job_id
