-- claim_suspect: hand one due job that was running when a process died to a producer that runs no other such;
--                where :keys are given, one of these partitions.
-- in:    queue text, producer uuid, node text, keys text[], now timestamptz
-- out:   id uuid, worker text, args text, meta text, tags text, errors text, attempt int, max_attempts int, priority
--        int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz,
--        snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents boolean,
--        workflow_id uuid, has_hooks boolean, deadline_at timestamptz, deadline_force boolean, chain_key text, awaited
--        boolean
-- lock:  skips rows another node holds
-- plan:  jobs_suspects
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
due as materialized (
    select ctid
    from {schema}.jobs
    where state = 'available'
        and suspicions > 0
        and queue = %(queue)s
        and (%(keys)s::text[] is null or coalesce(limit_key, '') = any(%(keys)s::text[]))
        and exists (select 1 from {schema}.producers p, t where p.id = %(producer)s and p.expires_at > t.now)
    order by priority, scheduled_at, id
    limit 1
    for update skip locked
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
