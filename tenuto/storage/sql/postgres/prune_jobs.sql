-- prune_jobs: delete jobs that ended longer ago than they are kept, oldest first. A link that ended and keeps its chain
--             is left.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  skips rows another node holds
-- plan:  jobs_finished
with old as materialized (
    select ctid
    from {schema}.jobs
    where state in ('completed', 'cancelled', 'discarded')
        and unique_until is null  -- else prune_kept does it
        and finished_at <= coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond'
        and coalesce(strpos(chain_holds, state), 0) = 0
    order by finished_at, id
    limit %(max)s
    for update skip locked
)
delete from {schema}.jobs j
using old
where j.ctid = old.ctid
returning j.id
