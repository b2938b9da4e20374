-- spend_rates: keep what a claim took of the buckets of partitions. One that is not there is full.
-- in:    queue text, costs json, most_debt bigint, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
costs (key, cost, now) as materialized (
    select json_extract(value, '$.key'), json_extract(value, '$.cost'), t.now from json_each(:costs), t
)
insert into rates (queue, limit_key, full_at)
select :queue, c.key, max(c.now, min(coalesce(b.full_at, c.now), c.now + :most_debt)) + c.cost
from costs c
left join rates b on b.queue = :queue and b.limit_key = c.key
where true
on conflict (queue, limit_key) do update
set full_at = excluded.full_at
