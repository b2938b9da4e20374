-- poll_cancels: the running jobs of some producers that an operator cancelled.
-- in:    producers uuid[]
-- out:   id uuid, epoch int
-- lock:  none
-- plan:  jobs_executing
select id, epoch
from jobs
where state = 'executing'
    and producer_id in (select value from json_each(:producers))
    and cancel_requested_at is not null
