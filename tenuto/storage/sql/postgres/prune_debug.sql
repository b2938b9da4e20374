-- prune_debug: delete what was logged longer ago than that is kept.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  skips rows another node holds
-- plan:  debug_log_at
with old as materialized (
    select id
    from {schema}.debug_log
    where at <= coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond'
    order by at
    limit %(max)s
    for update skip locked
)
delete from {schema}.debug_log d
using old
where d.id = old.id
returning d.id
