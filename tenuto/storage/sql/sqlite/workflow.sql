-- workflow: one workflow's own row, with its counts of steps by fate.
-- in:    id uuid
-- out:   id uuid, name text, state text, outcome text, runs int, steps int, unfinished int, completed int,
--        cancelled int, discarded int, deleted int, inserted_at timestamptz, finished_at timestamptz
-- lock:  none
-- plan:  sqlite_autoindex_workflows_1
select
    id, name, state, outcome, runs, steps, unfinished, completed, cancelled, discarded, deleted, inserted_at,
    finished_at
from workflows
where id = :id
