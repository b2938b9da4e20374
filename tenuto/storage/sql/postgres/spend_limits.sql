-- spend_limits: keep what a claim took of a queue's bucket, which partition it served last, and that from :began on it
--               looked for jobs of none behind all others: ten times as long passes until the next look. A bucket owes
--               no more than an empty one does: the clock may have been set back, or the rate changed.
-- in:    queue text, cost bigint, most_debt bigint, turn text, began timestamptz, now timestamptz
-- out:   -
-- lock:  the limits are held
-- plan:  limits_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.limits l
set turn = %(turn)s,
    looked_at = case
        when %(began)s::timestamptz is null then l.looked_at
        else t.now + least(interval '10 seconds', 10 * (t.now - %(began)s::timestamptz))
    end,
    full_at = case
        when %(most_debt)s::bigint = 0 then l.full_at  -- there is no rate
        else greatest(t.now, least(l.full_at, t.now + %(most_debt)s::bigint * interval '1 microsecond'))
            + %(cost)s::bigint * interval '1 microsecond'
    end
from t
where l.queue = %(queue)s
