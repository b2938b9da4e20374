-- head: what steps need to know that are added to a workflow: its name, and whether its steps are logged.
-- in:    id uuid
-- out:   name text, is_logged boolean
-- lock:  none
-- plan:  sqlite_autoindex_workflows_1
select name, is_logged
from workflows
where id = :id
