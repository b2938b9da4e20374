-- cap_rates: no bucket of a partition owes more than an empty one does: the clock may have been set back, or the rate
--            changed.
-- in:    queue text, most_debt bigint, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  rates_next
with t (most) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) + :most_debt
)
update rates
set full_at = (select most from t)
where queue = :queue and full_at > (select most from t)
