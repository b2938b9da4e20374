-- nodes: every producer there is, with whether its lease still holds.
-- in:    now timestamptz
-- out:   id uuid, node text, queue text, version int, workers text, health text, boot text, pid int,
--        pid_started text, started_at timestamptz, expires_at timestamptz, alive boolean
-- lock:  none
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select
    p.id, p.node, p.queue, p.version, p.workers, p.health, p.boot, p.pid, p.pid_started, p.started_at,
    p.expires_at, p.expires_at > t.now as alive
from producers p, t
order by p.node, p.queue
limit 10000
