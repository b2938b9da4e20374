-- lease: let one node do what only one should; the answer is empty while another one's lease holds.
-- in:    name text, node text, ttl bigint, now timestamptz
-- out:   name text
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
insert into leases (name, node, expires_at)
select :name, :node, t.now + :ttl
from t
where true
on conflict (name) do update
set node = excluded.node,
    expires_at = excluded.expires_at
where leases.node = excluded.node or leases.expires_at <= (select now from t)
returning name
