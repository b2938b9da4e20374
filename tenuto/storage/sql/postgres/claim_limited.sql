-- claim_limited: like claim, from :partitions of a queue in turn: one job of each, then another of each, at most :take
--                of one and :room of all. Jobs of no partition (the key '') stand among all others: without :deep they
--                are looked for before the two hundredth.
-- in:    queue text, partitions json, room int, is_deep boolean, producer uuid, node text, now timestamptz
-- out:   id uuid, worker text, args text, meta text, tags text, errors text, attempt int, max_attempts int, priority
--        int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz,
--        snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents boolean,
--        workflow_id uuid, has_hooks boolean, deadline_at timestamptz, deadline_force boolean, chain_key text, awaited
--        boolean, limit_key text
-- lock:  the limits are held; skips rows another node holds
-- plan:  jobs_partition
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
partitions as materialized (
    select p.key, p.nth, p.take
    from jsonb_to_recordset(%(partitions)s::jsonb) as p (key text collate "C", nth int, take int)
),
edge as materialized (
    select j.priority, j.scheduled_at, j.id
    from {schema}.jobs j
    where j.state = 'available'
        and j.suspicions = 0
        and j.queue = %(queue)s
        and not %(is_deep)s::boolean
    order by j.priority, j.scheduled_at, j.id
    offset 200
    limit 1
),
found as materialized (
    select k.ctid, k.priority, k.scheduled_at, k.id, p.nth
    from partitions p
    cross join lateral (
        select j.ctid, j.priority, j.scheduled_at, j.id
        from {schema}.jobs j
        where j.state = 'available'
            and j.suspicions = 0
            and j.limit_key is not null
            and j.queue = %(queue)s
            and j.limit_key between p.key and p.key  -- so that the order needs it: no other index has it
            and exists (select 1 from {schema}.producers l, t where l.id = %(producer)s and l.expires_at > t.now)
        order by j.limit_key, j.priority, j.scheduled_at, j.id
        limit p.take
        for update skip locked
    ) k
    where p.key <> ''
    union all
    select k.ctid, k.priority, k.scheduled_at, k.id, p.nth
    from partitions p
    cross join lateral (
        select j.ctid, j.priority, j.scheduled_at, j.id
        from {schema}.jobs j
        where j.state = 'available'
            and j.suspicions = 0
            and j.limit_key is null
            and j.queue = %(queue)s
            and (j.priority, j.scheduled_at, j.id) < (
                coalesce((select e.priority from edge e), 10::smallint),
                coalesce((select e.scheduled_at from edge e), 'infinity'),
                coalesce((select e.id from edge e), 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
            and exists (select 1 from {schema}.producers l, t where l.id = %(producer)s and l.expires_at > t.now)
        order by j.priority, j.scheduled_at, j.id
        limit p.take
        for update skip locked
    ) k
    where p.key = ''
),
due as materialized (
    select r.ctid
    from (
        select f.ctid, f.nth, row_number() over (partition by f.nth order by f.priority, f.scheduled_at, f.id) as round
        from found f
    ) r
    order by r.round, r.nth
    limit %(room)s
)
update {schema}.jobs j
set state = 'executing',
    attempt = j.attempt + 1,
    epoch = j.epoch + 1,
    producer_id = %(producer)s,
    attempted_by = %(node)s,
    attempted_at = t.now
from due, t
where j.ctid = due.ctid
returning
    j.id, j.worker, j.args, j.meta, j.tags, j.errors, j.attempt, j.max_attempts, j.priority, j.epoch,
    j.timeout, j.inserted_at, j.scheduled_at, j.attempted_at, j.snoozes, j.rescues, j.suspicions,
    j.waiting_on, j.has_needs, j.has_dependents, j.workflow_id, j.has_hooks, j.deadline_at, j.deadline_force,
    j.chain_key, j.awaited, j.limit_key
