-- prune_chains: delete chains that nobody has held for as long as ended jobs are kept, oldest first.
-- in:    keep bigint, max int, now timestamptz
-- out:   key text
-- lock:  skips chains that another node holds
-- plan:  chains_free
with old as materialized (
    select ctid
    from {schema}.chains
    where freed_at <= coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond'
    order by freed_at, key
    limit %(max)s
    for update skip locked
)
delete from {schema}.chains c
using old
where c.ctid = old.ctid
returning c.key
