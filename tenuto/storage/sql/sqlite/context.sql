-- context: what a workflow tells all of its steps; null where it tells nothing.
-- in:    id uuid
-- out:   context text
-- lock:  none
-- plan:  sqlite_autoindex_workflows_1
select context
from workflows
where id = :id
