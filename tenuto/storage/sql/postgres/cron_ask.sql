-- cron_ask: ask the nodes that know an entry to run it once, now.
-- in:    name text, now timestamptz
-- out:   name text
-- lock:  the entry
-- plan:  crons_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.crons c
set asked = true
from t
where c.name = %(name)s and c.known_until > t.now
returning c.name
