-- release: count met needs off: a suspended job that waits for nothing more becomes due, at once or when it was asked.
--          A negative count is counted on again: a job that is retried together with its need waits for it. A group
--          stays as it is, for other statements to complete it, or to let it wait again.
-- in:    counts json, now timestamptz
-- out:   id uuid, state text, queue text, is_group boolean, waiting_on int
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
c as materialized (select json_extract(value, '$.id') as id, json_extract(value, '$.met') as met from json_each(:counts))
update jobs
set waiting_on = max(jobs.waiting_on - c.met, 0),
    state = case
        when c.met < 0 and jobs.state = 'available' then 'suspended'
        when jobs.state <> 'suspended' or jobs.waiting_on > c.met or jobs.worker = 'tenuto.group' then jobs.state
        when jobs.scheduled_at > t.now then 'scheduled'
        else 'available'
    end
from c, t
where jobs.id = c.id
returning id, state, queue, worker = 'tenuto.group' as is_group, waiting_on
