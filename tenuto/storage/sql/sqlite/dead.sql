-- dead: producers whose lease ended; without :judge only those whose process is known to be gone.
-- in:    judge boolean, now timestamptz
-- out:   id uuid, node text
-- lock:  the write lock is held
-- plan:  -
select id, node
from producers
where case
        when :judge
        then expires_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
        else expires_at = 0
    end
order by id
limit 100
