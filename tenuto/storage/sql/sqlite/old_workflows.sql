-- old_workflows: workflows that finished longer ago than they are kept, oldest first.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  workflows_finished
select id
from workflows
where state = 'finished'
    and finished_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
order by finished_at, id
limit :max
