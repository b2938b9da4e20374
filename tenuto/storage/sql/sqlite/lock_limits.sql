-- lock_limits: hold the limits of a queue until this transaction ends, so that claims from it take turns; and what they
--              are. The write lock is held already.
-- in:    queue text, patience text, now timestamptz
-- out:   limits text, debt bigint, turn text, is_overdue boolean
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_limits_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select coalesce(l.asked, l.configured) as limits, max(0, l.full_at - t.now) as debt,
    l.turn,
    l.looked_at not between t.now - 1000000 and t.now + 10000000 as is_overdue
from limits l, t
where l.queue = :queue and :patience is not null
