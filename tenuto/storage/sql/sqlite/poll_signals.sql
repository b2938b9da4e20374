-- poll_signals: what the running jobs of some producers are told: that an operator cancelled them, that they are awaited.
-- in:    producers uuid[]
-- out:   id uuid, epoch int, cancelled boolean
-- lock:  none
-- plan:  jobs_executing
select id, epoch, cancel_requested_at is not null as cancelled
from jobs
where state = 'executing'
    and producer_id in (select value from json_each(:producers))
    and (cancel_requested_at is not null or awaited)
