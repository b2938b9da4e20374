-- release: count met needs off: a suspended job that waits for nothing more becomes due, at once or when it was asked.
--          A negative count is counted on again: a job that is retried together with its need waits for it. A group
--          stays as it is, for other statements to complete it, or to let it wait again.
-- in:    counts json, now timestamptz
-- out:   id uuid, state text, queue text, is_group boolean, waiting_on int
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
c as materialized (select * from jsonb_to_recordset(%(counts)s::jsonb) as c (id uuid, met int))
update {schema}.jobs j
set waiting_on = greatest(j.waiting_on - c.met, 0),
    state = case
        when c.met < 0 and j.state = 'available' then 'suspended'
        when j.state <> 'suspended' or j.waiting_on > c.met or j.worker = 'tenuto.group' then j.state
        when j.scheduled_at > t.now then 'scheduled'
        else 'available'
    end
from c, t
where j.id = c.id
returning j.id, j.state, j.queue, j.worker = 'tenuto.group' as is_group, j.waiting_on
