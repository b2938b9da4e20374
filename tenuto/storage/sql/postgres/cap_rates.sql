-- cap_rates: no bucket of a partition owes more than an empty one does: the clock may have been set back, or the rate
--            changed.
-- in:    queue text, most_debt bigint, now timestamptz
-- out:   -
-- lock:  the rates, while the limits are held
-- plan:  rates_next
with t as materialized (
    select n.now + %(most_debt)s::bigint * interval '1 microsecond' as most
    from (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now) n
)
update {schema}.rates r
set full_at = t.most
from t
where r.queue = %(queue)s and r.full_at > (select t.most from t)
