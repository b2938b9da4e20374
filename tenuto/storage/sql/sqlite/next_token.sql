-- next_token: the least debt of a partition that has due jobs and no token for them; none where every one has. A
--             thousand are looked at; where none of them has due jobs, it is time to look again when the last has a token.
-- in:    queue text, enough bigint, now timestamptz
-- out:   debt bigint
-- lock:  none
-- plan:  rates_next
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
owing (limit_key, full_at, nth) as materialized (
    select r.limit_key, r.full_at, row_number() over (order by r.full_at)
    from rates r
    where r.queue = :queue and r.full_at > (select now from t) + :enough
    order by r.full_at
    limit 1000
)
select o.full_at - (select now from t) as debt
from owing o
where o.limit_key = ''
    or o.nth = 1000
    or (
        select j.limit_key
        from jobs j
        where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
            and j.queue = :queue and j.limit_key = o.limit_key
        limit 1
    ) is not null
order by o.full_at
limit 1
