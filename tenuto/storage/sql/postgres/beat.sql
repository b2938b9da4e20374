-- beat: renew the leases of a node that still hold; one that ended stays ended.
-- in:    producers uuid[], ttl bigint, health text, now timestamptz
-- out:   id uuid
-- lock:  the producers
-- plan:  producers_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.producers p
set expires_at = t.now + %(ttl)s * interval '1 microsecond',
    health = %(health)s
from t
where p.id = any(%(producers)s::uuid[]) and p.expires_at > t.now
returning p.id
