-- log_debug: keep what an attempt read, asked a model, or was answered. Not fenced.
-- in:    id uuid, workflow_id uuid, job_id uuid, worker text, attempt int, kind text, content text, size int, note text,
--        now timestamptz
-- out:   -
-- lock:  the new row
-- plan:  -
insert into {schema}.debug_log (id, workflow_id, step, job_id, worker, attempt, kind, content, size, note, at)
values (
    %(id)s, %(workflow_id)s, (select name from {schema}.workflow_nodes where job_id = %(job_id)s), %(job_id)s,
    %(worker)s, %(attempt)s, %(kind)s, %(content)s, %(size)s, %(note)s, coalesce(%(now)s::timestamptz, clock_timestamp()))
on conflict (id) do nothing
