-- next_token: the least debt of a partition that has due jobs and no token for them; none where every one has. A
--             thousand are looked at; where none of them has due jobs, it is time to look again when the last has a token.
-- in:    queue text, enough bigint, now timestamptz
-- out:   debt bigint
-- lock:  none
-- plan:  rates_next
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
owing as materialized (
    select r.limit_key, r.full_at, row_number() over (order by r.full_at) as nth
    from {schema}.rates r
    where r.queue = %(queue)s
        and r.full_at > (select t.now + %(enough)s::bigint * interval '1 microsecond' from t)
    order by r.full_at
    limit 1000
)
select (extract(epoch from o.full_at - (select t.now from t)) * 1000000)::bigint as debt
from owing o
where o.limit_key = ''
    or o.nth = 1000
    or (
        select j.limit_key
        from {schema}.jobs j
        where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
            and j.queue = %(queue)s and j.limit_key between o.limit_key and o.limit_key
        order by j.limit_key
        limit 1
    ) is not null
order by o.full_at
limit 1
