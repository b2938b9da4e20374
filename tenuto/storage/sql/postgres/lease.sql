-- lease: let one node do what only one should; the answer is empty while another one's lease holds.
-- in:    name text, node text, ttl bigint, now timestamptz
-- out:   name text
-- lock:  the lease
-- plan:  leases_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
insert into {schema}.leases as l (name, node, expires_at)
select %(name)s, %(node)s, t.now + %(ttl)s * interval '1 microsecond'
from t
on conflict (name) do update
set node = excluded.node,
    expires_at = excluded.expires_at
where l.node = excluded.node or l.expires_at <= (select now from t)
returning l.name
