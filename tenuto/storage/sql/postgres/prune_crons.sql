-- prune_crons: forget entries that no node has known for longer than :keep, unless they are paused.
-- in:    keep bigint, now timestamptz
-- out:   name text
-- lock:  the entries
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
delete from {schema}.crons c
using t
where c.known_until < t.now - %(keep)s * interval '1 microsecond' and not c.paused
returning c.name
