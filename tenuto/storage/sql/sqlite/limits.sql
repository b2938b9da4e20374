-- limits: the limits of every queue that was given some, and how far its bucket is from full.
-- in:    now timestamptz
-- out:   queue text, limits text, is_asked boolean, debt bigint
-- lock:  none
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select l.queue, coalesce(l.asked, l.configured) as limits, l.asked is not null as is_asked,
    max(0, l.full_at - t.now) as debt
from limits l, t
order by l.queue
limit 10000
