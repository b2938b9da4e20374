-- crons: cron entries by name, all of them where no names are given, each with the state of its last job.
-- in:    names text[], now timestamptz
-- out:   name text, expression text, timezone text, worker text, catch_up bigint, paused boolean, asked boolean,
--        done_until timestamptz, fired_minute timestamptz, job_id uuid, job_state text, registered_at timestamptz,
--        known_until timestamptz, now timestamptz
-- lock:  none
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select
    c.name, c.expression, c.timezone, c.worker, c.catch_up, c.paused, c.asked, c.done_until, c.fired_minute, c.job_id,
    j.state as job_state, c.registered_at, c.known_until, t.now
from crons c
join t
left join jobs j on j.id = c.job_id
where :names is null or c.name in (select value from json_each(:names))
order by c.name
limit 10000
