-- members: the steps of a workflow that are named, or whose group is, and of no names all; in the order they were added.
-- in:    workflow_id uuid, names text[]
-- out:   name text, job_id uuid, worker text, deps text, fate text, state text
-- lock:  none
-- plan:  workflow_nodes_pkey
select n.name, n.job_id, n.worker, n.deps, n.fate, j.state
from {schema}.workflow_nodes n
left join {schema}.jobs j on j.id = n.job_id
where n.workflow_id = %(workflow_id)s
    and (%(names)s::text[] is null or n.name = any(%(names)s::text[]) or exists (
        select 1 from unnest(%(names)s::text[]) g (name) where starts_with(n.name, g.name || '/')
    ))
order by n.position
