-- dead: producers whose lease ended; without :judge only those whose process is known to be gone.
-- in:    judge boolean, now timestamptz
-- out:   id uuid, node text
-- lock:  the producers, skipping those another node deals with
-- plan:  -
select id, node
from {schema}.producers
where case
        when %(judge)s::boolean then expires_at <= coalesce(%(now)s::timestamptz, clock_timestamp())
        else expires_at = 'epoch'
    end
order by id
limit 100
for update skip locked
