-- head: what steps need to know that are added to a workflow: its name, and whether its steps are logged.
-- in:    id uuid
-- out:   name text, is_logged boolean
-- lock:  none
-- plan:  workflows_pkey
select name, is_logged
from {schema}.workflows
where id = %(id)s
