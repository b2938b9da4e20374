-- suspect_partitions: the partitions of a queue in which jobs are due that were running when a process died, a hundred
--                     of them; '' for those of none.
-- in:    queue text
-- out:   key text
-- lock:  none
-- plan:  jobs_suspects
select distinct coalesce(s.limit_key, '') as key
from (
    select j.limit_key
    from jobs j
    where j.state = 'available' and j.suspicions > 0 and j.queue = :queue
    order by j.priority, j.scheduled_at, j.id
    limit 100
) s
