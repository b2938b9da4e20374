-- debug_log: what attempts of one workflow read, asked and were answered, in order, from after the last one of a page.
-- in:    workflow_id uuid, step text, attempt int, after uuid, max int
-- out:   id uuid, step text, job_id uuid, worker text, attempt int, kind text, content text, size int, note text,
--        at timestamptz
-- lock:  none
-- plan:  debug_log_workflow
select id, step, job_id, worker, attempt, kind, content, size, note, at
from {schema}.debug_log
where workflow_id = %(workflow_id)s
    and (%(step)s::text is null or step = %(step)s)
    and (%(attempt)s::int is null or attempt = %(attempt)s)
    and (%(after)s::uuid is null or id > %(after)s::uuid)
order by id
limit %(max)s
