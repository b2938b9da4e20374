-- free_partitions: how many jobs a queue may start now, and which of its partitions may start some: those that have due
--                  jobs, from the one behind :turn on and once around, or those named by :keys. The partition '' holds
--                  the jobs that belong to none. The last one looked at is in the answer also if it may start none.
-- in:    queue text, turn text, visits int, keys text[], room int, most int, each_most int, each_count int,
--        each_per bigint, each_burst int, now timestamptz
-- out:   key text, nth int, free int, room int, has_keys boolean, at timestamptz
-- lock:  the limits are held
-- plan:  jobs_partition
with recursive t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
holders (id) as (  -- whoever holds a running job, by one step into the index for each
    (
        select j.producer_id
        from {schema}.jobs j
        where j.state = 'executing'
            and j.producer_id is not null
            and (%(most)s::int is not null or %(each_most)s::int is not null)
        order by j.producer_id
        limit 1
    )
    union all
    select (
        select j.producer_id
        from {schema}.jobs j
        where j.state = 'executing' and j.producer_id is not null and j.producer_id > h.id
        order by j.producer_id
        limit 1
    )
    from holders h
    where h.id is not null
),
running as materialized (
    select count(*) as jobs
    from holders h
    left join {schema}.producers p on p.id = h.id
    cross join lateral (
        select 1
        from {schema}.jobs j
        where j.state = 'executing' and j.producer_id = h.id and j.queue = %(queue)s
            and (p.id is null or p.queue = %(queue)s)
        offset 0
    ) j
    where h.id is not null
),
room as materialized (
    select greatest(0, least(%(room)s::bigint, %(most)s::int - r.jobs)) as jobs from running r
),
visited (place, nth) as (  -- 0 and a key: behind the turn; 1 alone: no partition; 1 and a key: up to the turn
    select '0' || %(turn)s::text collate "C", 0
    from room
    where room.jobs > 0 and %(keys)s::text[] is null
    union all
    select
        case
            when v.place < '1' then coalesce((
                select '0' || j.limit_key
                from {schema}.jobs j
                where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
                    and j.queue = %(queue)s and j.limit_key > substr(v.place, 2)
                order by j.limit_key
                limit 1
            ), '1')
            else (
                select '1' || j.limit_key
                from {schema}.jobs j
                where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null
                    and j.queue = %(queue)s and j.limit_key > substr(v.place, 2) and j.limit_key <= %(turn)s::text
                order by j.limit_key
                limit 1
            )
        end,
        v.nth + 1
    from visited v
    where v.place is not null and v.nth < %(visits)s
),
candidates as (
    select substr(v.place, 2) as key, v.nth from visited v where v.nth > 0 and v.place is not null
    union all
    select k.key, k.nth::int
    from unnest(%(keys)s::text[]) with ordinality as k (key, nth)
),
found as materialized (
    select c.key, c.nth, room.jobs as room,
        least(
            room.jobs,
            case
                when %(each_most)s::int is null then room.jobs
                when c.key <> '' then %(each_most)s::int - (
                    select count(*)
                    from {schema}.jobs j
                    where j.state = 'executing' and j.limit_key is not null
                        and j.queue = %(queue)s and j.limit_key = c.key)
                else %(each_most)s::int - running.jobs + (
                    select count(*)
                    from {schema}.jobs j
                    where j.state = 'executing' and j.limit_key is not null and j.queue = %(queue)s)
            end,
            case
                when %(each_count)s::int is null then room.jobs
                else coalesce((
                    select greatest(0, (%(each_burst)s::bigint * %(each_per)s::bigint
                        - (extract(epoch from r.full_at - t.now) * 1000000)::bigint * %(each_count)s::int)
                        / %(each_per)s::bigint)
                    from {schema}.rates r, t
                    where r.limit_key = c.key and r.queue || '' = %(queue)s  -- by its key, whatever the statistics say
                        and r.full_at > t.now
                ), %(each_burst)s::int)
            end
        ) as free
    from candidates c, room, running
)
select f.key, f.nth, f.free::int as free, f.room::int as room, (
        select j.limit_key
        from {schema}.jobs j
        where j.state = 'available' and j.suspicions = 0 and j.limit_key is not null and j.queue = %(queue)s
        order by j.limit_key
        limit 1
    ) is not null as has_keys,
    t.now as at
from found f, t
where f.room > 0 and (f.free > 0 or f.nth = %(visits)s)
order by f.nth
