-- free_partitions: how many jobs a queue may start now, and which of its partitions may start some: those that have due
--                  jobs, from the one behind :turn on and once around, or those named by :keys. The partition '' holds
--                  the jobs that belong to none. The last one looked at is in the answer also if it may start none.
-- in:    queue text, turn text, visits int, keys text[], room int, most int, each_most int, each_count int,
--        each_per bigint, each_burst int, now timestamptz
-- out:   key text, nth int, free int, room int, has_keys boolean, at timestamptz
-- lock:  the write lock is held
-- plan:  jobs_partition
with recursive t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
holders (id) as (  -- whoever holds a running job, by one step into the index for each
    select * from (
        select j.producer_id
        from jobs j
        where j.state = 'executing'
            and j.producer_id is not null
            and (:most is not null or :each_most is not null)
        order by j.producer_id
        limit 1
    )
    union all
    select (
        select j.producer_id
        from jobs j
        where j.state = 'executing' and j.producer_id is not null and j.producer_id > h.id
        order by j.producer_id
        limit 1
    )
    from holders h
    where h.id is not null
),
running (jobs) as materialized (
    select coalesce(sum((
        select count(*)
        from jobs j
        where j.state = 'executing' and j.producer_id is not null and j.producer_id = h.id and j.queue = :queue
    )), 0)
    from holders h
    left join producers p on p.id = h.id
    where h.id is not null and (p.id is null or p.queue = :queue)
),
room (jobs) as materialized (
    select max(0, min(:room, coalesce(:most - r.jobs, :room))) from running r
),
visited (place, nth) as (  -- 0 and a key: behind the turn; 1 alone: no partition; 1 and a key: up to the turn
    select '0' || :turn, 0
    from room
    where room.jobs > 0 and :keys is null
    union all
    select
        case
            when v.place < '1' then coalesce((
                select '0' || j.limit_key
                from jobs j
                where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
                    and j.queue = :queue and j.limit_key > substr(v.place, 2)
                order by j.limit_key
                limit 1
            ), '1')
            else (
                select '1' || j.limit_key
                from jobs j
                where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
                    and j.queue = :queue and j.limit_key > substr(v.place, 2) and j.limit_key <= :turn
                order by j.limit_key
                limit 1
            )
        end,
        v.nth + 1
    from visited v
    where v.place is not null and v.nth < :visits
),
candidates (key, nth) as (
    select substr(v.place, 2), v.nth from visited v where v.nth > 0 and v.place is not null
    union all
    select k.value, k.key + 1 from json_each(coalesce(:keys, '[]')) k
),
found (key, nth, room, free) as materialized (
    select c.key, c.nth, room.jobs,
        min(
            room.jobs,
            case
                when :each_most is null then room.jobs
                when c.key <> '' then :each_most - (
                    select count(*)
                    from jobs j
                    where j.state = 'executing' and j.limit_key is not null
                        and j.queue = :queue and j.limit_key = c.key)
                else :each_most - running.jobs + (
                    select count(*)
                    from jobs j
                    where j.state = 'executing' and j.limit_key is not null and j.queue = :queue)
            end,
            case
                when :each_count is null then room.jobs
                else coalesce((
                    select max(0, (:each_burst * :each_per - (r.full_at - t.now) * :each_count) / :each_per)
                    from rates r, t
                    where r.queue = :queue and r.limit_key = c.key and r.full_at > t.now
                ), :each_burst)
            end
        )
    from candidates c, room, running
)
select f.key, f.nth, f.free, f.room, (
        select j.limit_key
        from jobs j
        where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null and j.queue = :queue
        order by j.limit_key
        limit 1
    ) is not null as has_keys,
    t.now as at
from found f, t
where f.room > 0 and (f.free > 0 or f.nth = :visits)
order by f.nth
