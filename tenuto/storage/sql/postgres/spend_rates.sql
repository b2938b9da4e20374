-- spend_rates: keep what a claim took of the buckets of partitions. One that is not there is full.
-- in:    queue text, costs json, most_debt bigint, now timestamptz
-- out:   -
-- lock:  the rates, while the limits are held
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
costs as materialized (
    select c.key, c.cost * interval '1 microsecond' as cost, t.now,
        t.now + %(most_debt)s::bigint * interval '1 microsecond' as most
    from t, jsonb_to_recordset(%(costs)s::jsonb) as c (key text, cost bigint)
)
insert into {schema}.rates as r (queue, limit_key, full_at)
select %(queue)s, c.key, greatest(c.now, least(coalesce(b.full_at, c.now), c.most)) + c.cost
from costs c
left join {schema}.rates b on b.limit_key = c.key and b.queue || '' = %(queue)s
on conflict (queue, limit_key) do update
set full_at = excluded.full_at
