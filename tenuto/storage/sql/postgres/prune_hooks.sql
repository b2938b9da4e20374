-- prune_hooks: delete what was left for hooks longer ago than jobs are kept, oldest first.
-- in:    keep bigint, max int, now timestamptz
-- out:   job_id uuid
-- lock:  skips rows another node holds
-- plan:  hook_outbox_at
with old as materialized (
    select ctid
    from {schema}.hook_outbox
    where at <= coalesce(%(now)s::timestamptz, clock_timestamp()) - %(keep)s * interval '1 microsecond'
    order by at
    limit %(max)s
    for update skip locked
)
delete from {schema}.hook_outbox h
using old
where h.ctid = old.ctid
returning h.job_id
