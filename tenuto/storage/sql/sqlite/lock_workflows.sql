-- lock_workflows: lock workflows, so that no signal comes to them while a step of theirs begins to wait.
-- in:    ids uuid[], patience text
-- out:   id uuid, state text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_workflows_1
select id, state
from workflows
where id in (select value from json_each(:ids)) and :patience is not null
