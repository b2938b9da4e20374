-- log_debug: keep what an attempt read, asked a model, or was answered. Not fenced.
-- in:    id uuid, workflow_id uuid, job_id uuid, worker text, attempt int, kind text, content text, size int, note text,
--        now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  -
insert into debug_log (id, workflow_id, step, job_id, worker, attempt, kind, content, size, note, at)
values (
    :id, :workflow_id, (select name from workflow_nodes where job_id = :job_id), :job_id,
    :worker, :attempt, :kind, :content, :size, :note,
    coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)))
on conflict (id) do nothing
