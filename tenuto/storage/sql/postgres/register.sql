-- register: open the leases of a node, one producer for each of its queues.
-- in:    producers json, ttl bigint, now timestamptz
-- out:   id uuid
-- lock:  none but the new rows
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
insert into {schema}.producers (
    id, node, queue, version, workers, boot, pid, pid_started, started_at, expires_at)
select
    p.id, p.node, p.queue, p.version, p.workers, p.boot, p.pid, p.pid_started, t.now,
    t.now + %(ttl)s * interval '1 microsecond'
from t, jsonb_to_recordset(%(producers)s::jsonb) as p (
    id uuid, node text, queue text, version int, workers text, boot text, pid int, pid_started text)
on conflict (id) do nothing
returning id
