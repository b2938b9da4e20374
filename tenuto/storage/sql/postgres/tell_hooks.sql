-- tell_hooks: leave a word for the hooks of jobs that were ended from outside. What ended one is :told's reason, unless an
--             operator had asked for it before.
-- in:    told json
-- out:   -
-- lock:  none but the new rows
-- plan:  jobs_pkey
insert into {schema}.hook_outbox (worker, at, job_id, state, reason)
select j.worker, j.finished_at, j.id, j.state, case when j.cancel_requested_at is null then t.reason else 'operator' end
from jsonb_to_recordset(%(told)s::jsonb) as t (id uuid, reason text)
join {schema}.jobs j on j.id = t.id
where j.has_hooks and coalesce(j.state in ('cancelled', 'discarded'), false)
on conflict do nothing
