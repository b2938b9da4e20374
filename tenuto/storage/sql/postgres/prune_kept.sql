-- prune_kept: delete jobs that were unique for a period, both long enough over, the earliest period first.
--             A link that ended and keeps its chain is left.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  skips rows another node holds
-- plan:  jobs_kept
with t as materialized (
    select coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond' as until
),
old as materialized (
    select j.ctid
    from {schema}.jobs j
    where j.unique_until <= (select until from t)
        and j.state in ('completed', 'cancelled', 'discarded')
        and j.finished_at <= (select until from t)
        and coalesce(strpos(j.chain_holds, j.state), 0) = 0
    order by j.unique_until, j.id
    limit %(max)s
    for update skip locked
)
delete from {schema}.jobs j
using old
where j.ctid = old.ctid
returning j.id
