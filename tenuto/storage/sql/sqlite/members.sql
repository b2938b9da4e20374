-- members: the steps of a workflow that are named, or whose group is, and of no names all; in the order they were added.
-- in:    workflow_id uuid, names text[]
-- out:   name text, job_id uuid, worker text, deps text, fate text, state text
-- lock:  none
-- plan:  sqlite_autoindex_workflow_nodes_1
select n.name, n.job_id, n.worker, n.deps, n.fate, j.state
from workflow_nodes n
left join jobs j on j.id = n.job_id
where n.workflow_id = :workflow_id
    and (:names is null or n.name in (select value from json_each(:names)) or exists (
        select 1 from json_each(:names) g where substr(n.name, 1, length(g.value) + 1) = g.value || '/'
    ))
order by n.position
