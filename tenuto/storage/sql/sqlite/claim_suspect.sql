-- claim_suspect: hand one due job that was running when a process died to a producer that runs no other such;
--                where :keys are given, one of these partitions.
-- in:    queue text, producer uuid, node text, keys text[], now timestamptz
-- out:   id uuid, worker text, args text, meta text, tags text, errors text, attempt int, max_attempts int, priority
--        int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz,
--        snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents boolean,
--        workflow_id uuid, has_hooks boolean, deadline_at timestamptz, deadline_force boolean, chain_key text, awaited
--        boolean
-- lock:  the write lock is held
-- plan:  jobs_suspects
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = 'executing',
    attempt = attempt + 1,
    epoch = epoch + 1,
    producer_id = :producer,
    attempted_by = :node,
    attempted_at = (select now from t)
where rowid in (
    select rowid
    from jobs
    where state = 'available'
        and suspicions > 0
        and queue = :queue
        and (:keys is null or coalesce(limit_key, '') in (select value from json_each(:keys)))
        and exists (select 1 from producers p, t where p.id = :producer and p.expires_at > t.now)
    order by priority, scheduled_at, id
    limit 1
)
returning
    id, worker, args, meta, tags, errors, attempt, max_attempts, priority, epoch, timeout, inserted_at,
    scheduled_at, attempted_at, snoozes, rescues, suspicions, waiting_on, has_needs, has_dependents,
    workflow_id, has_hooks, deadline_at, deadline_force, chain_key, awaited
