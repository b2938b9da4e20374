-- dead: producers whose lease ended; without :judge only those whose process is known to be gone. A :node judges
--       others only while a lease of its own holds: where all have ended at once, the database was away.
-- in:    judge boolean, node text, now timestamptz
-- out:   id uuid, node text
-- lock:  the write lock is held
-- plan:  -
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
select p.id, p.node
from producers p, t
where p.expires_at = 0
    or (:judge and p.expires_at <= t.now and (
        :node is null
        or exists (select 1 from producers mine where mine.node = :node and mine.expires_at > t.now)))
order by p.id
limit 100
