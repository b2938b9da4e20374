-- next_token: the least debt of a partition that has due jobs and no token for them; none where every one has.
-- in:    queue text, enough bigint, now timestamptz
-- out:   debt bigint
-- lock:  none
-- plan:  rates_next
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select (extract(epoch from r.full_at - (select t.now from t)) * 1000000)::bigint as debt
from {schema}.rates r
where r.queue = %(queue)s
    and r.full_at > (select t.now + %(enough)s::bigint * interval '1 microsecond' from t)
    and (r.limit_key = '' or exists (
        select 1
        from {schema}.jobs j
        where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
            and j.queue = r.queue and j.limit_key = r.limit_key))
order by r.full_at
limit 1
