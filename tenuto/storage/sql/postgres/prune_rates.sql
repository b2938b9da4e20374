-- prune_rates: forget buckets that are full again: one that is not there is full.
-- in:    max int, now timestamptz
-- out:   queue text
-- lock:  skips rows that a claim holds
-- plan:  -
with idle as materialized (
    select r.ctid
    from {schema}.rates r
    where r.full_at <= coalesce(%(now)s::timestamptz, clock_timestamp())
    limit %(max)s
    for update skip locked
)
delete from {schema}.rates r
using idle
where r.ctid = idle.ctid
returning r.queue
