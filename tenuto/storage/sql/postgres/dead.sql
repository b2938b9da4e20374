-- dead: producers whose lease ended; without :judge only those whose process is known to be gone. A :node judges
--       others only while a lease of its own holds: where all have ended at once, the database was away.
-- in:    judge boolean, node text, now timestamptz
-- out:   id uuid, node text
-- lock:  the producers, skipping those another node deals with
-- plan:  -
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select p.id, p.node
from {schema}.producers p, t
where p.expires_at = 'epoch'
    or (%(judge)s::boolean and p.expires_at <= t.now and (
        %(node)s::text is null
        or exists (select 1 from {schema}.producers mine where mine.node = %(node)s and mine.expires_at > t.now)))
order by p.id
limit 100
for update of p skip locked
