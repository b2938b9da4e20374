-- prune_usage: delete what was used longer ago than that is kept, unless its workflow is still there.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  skips rows another node holds
-- plan:  usage_at
with old as materialized (
    select u.id
    from {schema}.usage u
    where u.at <= coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond'
        and not exists (select 1 from {schema}.workflows w where w.id = u.workflow_id)
    order by u.at
    limit %(max)s
    for update of u skip locked
)
delete from {schema}.usage u
using old
where u.id = old.id
returning u.id
