-- tell_hooks: leave a word for the hooks of jobs that were ended from outside. What ended one is :told's reason, unless an
--             operator had asked for it before.
-- in:    told json
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
insert into hook_outbox (worker, at, job_id, state, reason)
select
    j.worker, j.finished_at, j.id, j.state,
    case when j.cancel_requested_at is null then json_extract(t.value, '$.reason') else 'operator' end
from json_each(:told) t
join jobs j on j.id = json_extract(t.value, '$.id')
where j.has_hooks and j.state in ('cancelled', 'discarded')
on conflict do nothing
