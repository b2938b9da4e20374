-- cron_asked: what the database's clock shows, and whether anybody asked for one of these entries.
-- in:    names text[], now timestamptz
-- out:   now timestamptz, asked boolean
-- lock:  none
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select t.now, exists (select 1 from {schema}.crons where asked and name = any(%(names)s::text[])) as asked
from t
