-- spend_limits: keep what a claim took of a queue's bucket, which partition it served last, and that it looked for jobs
--               of none behind all others.
-- in:    queue text, cost bigint, most_debt bigint, turn text, looked boolean, now timestamptz
-- out:   -
-- lock:  the limits are held
-- plan:  limits_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.limits l
set turn = %(turn)s,
    looked_at = case when %(looked)s::boolean then t.now else l.looked_at end,
    full_at = case
        when %(cost)s::bigint = 0 then l.full_at
        else greatest(t.now, least(l.full_at, t.now + %(most_debt)s::bigint * interval '1 microsecond'))
            + %(cost)s::bigint * interval '1 microsecond'
    end
from t
where l.queue = %(queue)s
