-- cron_pause: pause an entry, or resume it; what was due meanwhile is not fired any more.
-- in:    name text, paused boolean, now timestamptz
-- out:   name text
-- lock:  the entry
-- plan:  crons_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.crons c
set paused = %(paused)s::boolean,
    done_until = case when c.paused and not %(paused)s::boolean then greatest(c.done_until, t.now) else c.done_until end
from t
where c.name = %(name)s
returning c.name
