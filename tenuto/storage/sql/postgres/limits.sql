-- limits: the limits of every queue that was given some, and how far its bucket is from full.
-- in:    now timestamptz
-- out:   queue text, limits text, is_asked boolean, debt bigint
-- lock:  none
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select l.queue, coalesce(l.asked, l.configured) as limits, l.asked is not null as is_asked,
    greatest(0, (extract(epoch from l.full_at - t.now) * 1000000)::bigint) as debt
from {schema}.limits l, t
order by l.queue
limit 10000
