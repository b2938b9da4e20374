-- register: open the leases of a node, one producer for each of its queues.
-- in:    producers json, ttl bigint, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
insert into producers (
    id, node, queue, version, workers, boot, pid, pid_started, started_at, expires_at)
select
    json_extract(value, '$.id'), json_extract(value, '$.node'), json_extract(value, '$.queue'), json_extract(value, '$.version'), json_extract(value, '$.workers'),
    json_extract(value, '$.boot'), json_extract(value, '$.pid'), json_extract(value, '$.pid_started'), t.now, t.now + :ttl
from t, json_each(:producers)
where true
on conflict (id) do nothing
returning id
