-- claim_behind: like claim, but from where the last claim ended in each priority. Rows that left before that point, and
--               that no vacuum may remove because some transaction is old, are not walked again.
-- in:    queue text, demand int, producer uuid, node text, places json, now timestamptz
-- out:   id uuid, worker text, args text, meta text, tags text, errors text, attempt int, max_attempts int, priority
--        int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz,
--        snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents boolean,
--        workflow_id uuid, has_hooks boolean, deadline_at timestamptz, deadline_force boolean, chain_key text, awaited
--        boolean
-- lock:  skips rows another node holds
-- plan:  jobs_claim
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
places as materialized (
    select n as priority,
        coalesce('epoch'::timestamptz + p.at * interval '1 microsecond', '-infinity') as at,
        coalesce(p.id, '00000000-0000-0000-0000-000000000000') as id
    from generate_series(0, 9) n
    left join jsonb_to_recordset(%(places)s::jsonb) as p (priority int, at bigint, id uuid) on p.priority = n
),
due as materialized (
    select found.ctid
    from places p
    cross join lateral (
        select j.ctid, j.scheduled_at, j.id
        from {schema}.jobs j
        where j.state = 'available'
            and j.suspicions = 0
            and j.queue = %(queue)s
            and j.priority = p.priority
            and (j.scheduled_at, j.id) > (p.at, p.id)
            and exists (select 1 from {schema}.producers l, t where l.id = %(producer)s and l.expires_at > t.now)
        order by j.scheduled_at, j.id
        limit %(demand)s
        for update skip locked
    ) found
    order by p.priority, found.scheduled_at, found.id
    limit %(demand)s
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
    j.chain_key, j.awaited
