-- running_workflow: the unique workflow of a name that is unfinished, unless the id is stored already.
-- in:    id uuid, name text
-- out:   id uuid
-- lock:  none
-- plan:  workflows_unique
select r.id
from workflows r
where r.name = :name
    and r.is_unique
    and r.state = 'running'
    and not exists (select 1 from workflows w where w.id = :id)
