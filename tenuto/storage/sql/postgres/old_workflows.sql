-- old_workflows: workflows that finished longer ago than they are kept, oldest first.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  the workflows, skipping those another node holds
-- plan:  workflows_finished
select id
from {schema}.workflows
where state = 'finished'
    and finished_at <= coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond'
order by finished_at, id
limit %(max)s
for update skip locked
