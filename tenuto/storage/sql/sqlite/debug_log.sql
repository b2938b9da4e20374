-- debug_log: what attempts of one workflow read, asked and were answered, in order, from after the last one of a page.
-- in:    workflow_id uuid, step text, attempt int, after uuid, max int
-- out:   id uuid, step text, job_id uuid, worker text, attempt int, kind text, content text, size int, note text,
--        at timestamptz
-- lock:  none
-- plan:  debug_log_workflow
select id, step, job_id, worker, attempt, kind, content, size, note, at
from debug_log
where workflow_id = :workflow_id
    and (:step is null or step = :step)
    and (:attempt is null or attempt = :attempt)
    and id > coalesce(:after, '')
order by id
limit :max
