-- crons: cron entries by name, all of them where no names are given, each with the state of its last job.
-- in:    names text[], now timestamptz
-- out:   name text, expression text, timezone text, worker text, catch_up bigint, paused boolean, asked boolean,
--        done_until timestamptz, fired_minute timestamptz, job_id uuid, job_state text, registered_at timestamptz,
--        known_until timestamptz, now timestamptz
-- lock:  none
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select
    c.name, c.expression, c.timezone, c.worker, c.catch_up, c.paused, c.asked, c.done_until, c.fired_minute, c.job_id,
    j.state as job_state, c.registered_at, c.known_until, t.now
from t, {schema}.crons c
left join {schema}.jobs j on j.id = c.job_id
where %(names)s::text[] is null or c.name = any(%(names)s::text[])
order by c.name
limit 10000
