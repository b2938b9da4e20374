-- claim_limited: like claim, from :partitions of a queue in turn: one job of each, then another of each, at most :take
--                of one and :room of all. Jobs of no partition (the key '') stand among all others: without :deep they
--                are looked for before the two hundredth.
-- in:    queue text, partitions json, room int, is_deep boolean, producer uuid, node text, now timestamptz
-- out:   id uuid, worker text, args text, meta text, tags text, errors text, attempt int, max_attempts int, priority
--        int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz,
--        snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents boolean,
--        workflow_id uuid, has_hooks boolean, deadline_at timestamptz, deadline_force boolean, chain_key text, awaited
--        boolean, limit_key text
-- lock:  the write lock is held
-- plan:  jobs_partition
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
partitions (key, nth, take) as materialized (
    select json_extract(value, '$.key'), json_extract(value, '$.nth'), json_extract(value, '$.take')
    from json_each(:partitions)
),
edge (priority, scheduled_at, id) as materialized (
    select j.priority, j.scheduled_at, j.id
    from jobs j
    where j.state = 'available'
        and j.suspicions = 0
        and j.queue = :queue
        and not :is_deep
    order by j.priority, j.scheduled_at, j.id
    limit 1 offset 200
),
found (place, nth, round, take) as (
    select j.rowid, p.nth, row_number() over (partition by p.nth order by j.priority, j.scheduled_at, j.id), p.take
    from partitions p
    cross join jobs j
    where p.key <> '' and j.rowid in (
        select k.rowid
        from jobs k
        where k.state = 'available'
            and k.suspicions = 0
            and k.limit_key is not null
            and k.queue = :queue
            and k.limit_key = p.key
        order by k.priority, k.scheduled_at, k.id
        limit (select max(take) from partitions)
    )
    union all
    select c.rowid, p.nth, row_number() over (order by c.priority, c.scheduled_at, c.id), p.take
    from partitions p
    cross join (
        select j.rowid, j.priority, j.scheduled_at, j.id
        from jobs j
        where j.state = 'available'
            and j.suspicions = 0
            and j.limit_key is null
            and j.queue = :queue
            and (j.priority, j.scheduled_at, j.id) < (
                coalesce((select e.priority from edge e), 10),
                coalesce((select e.scheduled_at from edge e), 9223372036854775807),
                coalesce((select e.id from edge e), 'g'))
        order by j.priority, j.scheduled_at, j.id
        limit coalesce((select take from partitions where key = ''), 0)
    ) c
    where p.key = ''
)
update jobs
set state = 'executing',
    attempt = attempt + 1,
    epoch = epoch + 1,
    producer_id = :producer,
    attempted_by = :node,
    attempted_at = (select now from t)
where rowid in (
    select place
    from found
    where round <= take
        and exists (select 1 from producers p, t where p.id = :producer and p.expires_at > t.now)
    order by round, nth
    limit :room
)
returning
    id, worker, args, meta, tags, errors, attempt, max_attempts, priority, epoch, timeout, inserted_at,
    scheduled_at, attempted_at, snoozes, rescues, suspicions, waiting_on, has_needs, has_dependents,
    workflow_id, has_hooks, deadline_at, deadline_force, chain_key, awaited, limit_key
