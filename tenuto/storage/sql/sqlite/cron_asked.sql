-- cron_asked: what the database's clock shows, and whether anybody asked for one of these entries.
-- in:    names text[], now timestamptz
-- out:   now timestamptz, asked boolean
-- lock:  none
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select t.now, exists (select 1 from crons where asked and name in (select value from json_each(:names))) as asked
from t
