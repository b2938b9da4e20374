-- nodes: every producer there is, with whether its lease still holds.
-- in:    now timestamptz
-- out:   id uuid, node text, queue text, version int, workers text, health text, boot text, pid int,
--        pid_started text, started_at timestamptz, expires_at timestamptz, alive boolean
-- lock:  none
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select
    p.id, p.node, p.queue, p.version, p.workers, p.health, p.boot, p.pid, p.pid_started, p.started_at,
    p.expires_at, p.expires_at > t.now as alive
from {schema}.producers p, t
order by p.node, p.queue
limit 10000
