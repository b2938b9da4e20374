-- wake: make jobs due that wait for a signal. No queue for one whose row another session holds.
-- in:    owner_id uuid, name text, now timestamptz
-- out:   id uuid, queue text
-- lock:  jobs by id; what another session holds is not waited for
-- plan:  signal_waits_owner
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
waiting as materialized (
    select j.id
    from {schema}.signal_waits w
    cross join lateral (
        select j.id from {schema}.jobs j where j.id = w.job_id and j.epoch = w.epoch and j.state = 'scheduled' offset 0
    ) j
    where w.owner_id = %(owner_id)s and w.name = %(name)s and not w.timed_out
),
free as materialized (
    select j.id
    from {schema}.jobs j
    where j.id = any(array(select id from waiting)) and j.state = 'scheduled'
    order by j.id
    for update skip locked
),
woken as (
    update {schema}.jobs j
    set state = 'available',
        scheduled_at = t.now
    from t
    where j.id = any(array(select id from free))
    returning j.id, j.queue
)
select w.id, woken.queue
from waiting w
left join woken on woken.id = w.id
