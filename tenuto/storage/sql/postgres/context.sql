-- context: what a workflow tells all of its steps; null where it tells nothing.
-- in:    id uuid
-- out:   context text
-- lock:  none
-- plan:  workflows_pkey
select context
from {schema}.workflows
where id = %(id)s
