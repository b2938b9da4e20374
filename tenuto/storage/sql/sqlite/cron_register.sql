-- cron_register: keep cron entries as a node declares them, and that they are known for :ttl more. One that others
--                declared otherwise stays theirs while they live, unless this is the first time that :wins.
-- in:    crons json, wins boolean, ttl bigint, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
insert into crons (
    name, expression, timezone, worker, catch_up, done_until, registered_at, known_until)
select
    json_extract(value, '$.name'), json_extract(value, '$.expression'), json_extract(value, '$.timezone'),
    json_extract(value, '$.worker'), json_extract(value, '$.catch_up'), t.now, t.now, t.now + :ttl
from t, json_each(:crons)
where true
on conflict (name) do update
set expression = excluded.expression,
    timezone = excluded.timezone,
    worker = excluded.worker,
    catch_up = excluded.catch_up,
    known_until = excluded.known_until,
    registered_at = case
        when (crons.expression, crons.timezone, crons.worker, crons.catch_up)
            = (excluded.expression, excluded.timezone, excluded.worker, excluded.catch_up) then crons.registered_at
        else excluded.registered_at end,
    done_until = case
        when (crons.expression, crons.timezone, crons.worker)
            = (excluded.expression, excluded.timezone, excluded.worker) then crons.done_until
        else max(crons.done_until, excluded.done_until) end
where :wins or crons.known_until <= (select now from t)
    or (crons.expression, crons.timezone, crons.worker, crons.catch_up)
        = (excluded.expression, excluded.timezone, excluded.worker, excluded.catch_up)
