-- lock_workflows: lock workflows, so that no signal comes to them while a step of theirs begins to wait.
-- in:    ids uuid[], patience text
-- out:   id uuid, state text
-- lock:  workflows by id
-- plan:  workflows_pkey
select id, state
from {schema}.workflows
where id = any(%(ids)s::uuid[])
    and (select set_config('lock_timeout', %(patience)s, true)) is not null  -- for the whole transaction
order by id
for no key update
