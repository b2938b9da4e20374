-- next_token: the least debt of a partition that has due jobs and no token for them; none where every one has.
-- in:    queue text, enough bigint, now timestamptz
-- out:   debt bigint
-- lock:  none
-- plan:  rates_next
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select r.full_at - (select now from t) as debt
from rates r
where r.queue = :queue
    and r.full_at > (select now from t) + :enough
    and (r.limit_key = '' or exists (
        select 1
        from jobs j
        where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
            and j.queue = r.queue and j.limit_key = r.limit_key))
order by r.full_at
limit 1
