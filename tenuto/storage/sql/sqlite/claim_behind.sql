-- claim_behind: like claim, but from where the last claim ended in each priority. SQLite keeps no dead rows in its
--               indexes: here both begin at the head.
-- in:    queue text, demand int, producer uuid, node text, places json, now timestamptz
-- out:   id uuid, worker text, args text, meta text, tags text, errors text, attempt int, max_attempts int, priority
--        int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz,
--        snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents boolean,
--        workflow_id uuid, has_hooks boolean, deadline_at timestamptz, deadline_force boolean, chain_key text, awaited
--        boolean
-- lock:  the write lock is held
-- plan:  jobs_claim
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
        and suspicions = 0
        and queue = :queue
        and :places is not null
        and exists (select 1 from producers p, t where p.id = :producer and p.expires_at > t.now)
    order by priority, scheduled_at, id
    limit :demand
)
returning
    id, worker, args, meta, tags, errors, attempt, max_attempts, priority, epoch, timeout, inserted_at,
    scheduled_at, attempted_at, snoozes, rescues, suspicions, waiting_on, has_needs, has_dependents,
    workflow_id, has_hooks, deadline_at, deadline_force, chain_key, awaited
