-- cron_register: keep cron entries as a node declares them, and that they are known for :ttl more. One that others
--                declared otherwise stays theirs while they live, unless this is the first time that :wins.
-- in:    crons json, wins boolean, ttl bigint, now timestamptz
-- out:   -
-- lock:  the entries by name
-- plan:  crons_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
insert into {schema}.crons as c (
    name, expression, timezone, worker, catch_up, done_until, registered_at, known_until)
select
    n.name, n.expression, n.timezone, n.worker, n.catch_up, t.now, t.now,
    t.now + %(ttl)s * interval '1 microsecond'
from t, jsonb_to_recordset(%(crons)s::jsonb) as n (
    name text, expression text, timezone text, worker text, catch_up bigint)
order by n.name
on conflict (name) do update
set expression = excluded.expression,
    timezone = excluded.timezone,
    worker = excluded.worker,
    catch_up = excluded.catch_up,
    known_until = excluded.known_until,
    registered_at = case
        when (c.expression, c.timezone, c.worker, c.catch_up)
            = (excluded.expression, excluded.timezone, excluded.worker, excluded.catch_up) then c.registered_at
        else excluded.registered_at end,
    done_until = case
        when (c.expression, c.timezone, c.worker) = (excluded.expression, excluded.timezone, excluded.worker)
            then c.done_until
        else greatest(c.done_until, excluded.done_until) end
where %(wins)s::boolean or c.known_until <= (select now from t)
    or (c.expression, c.timezone, c.worker, c.catch_up)
        = (excluded.expression, excluded.timezone, excluded.worker, excluded.catch_up)
