-- find_workflows: workflows by state and name, newest first, from before the last one of the page before.
-- in:    state text, name text, before uuid, max int
-- out:   id uuid, name text, state text, outcome text, runs int, steps int, unfinished int, completed int,
--        cancelled int, discarded int, deleted int, inserted_at timestamptz, finished_at timestamptz
-- lock:  none
-- plan:  workflows_pkey
select
    id, name, state, outcome, runs, steps, unfinished, completed, cancelled, discarded, deleted, inserted_at,
    finished_at
from {schema}.workflows
where (%(state)s::text is null or state = %(state)s)
    and (%(name)s::text is null or name = %(name)s)
    and (%(before)s::uuid is null or id < %(before)s::uuid)
order by id desc
limit %(max)s
