-- waits: the signals that one job waits for now, by name.
-- in:    id uuid
-- out:   name text, deadline_at timestamptz
-- lock:  none
-- plan:  signal_waits_pkey
select w.name, w.deadline_at
from {schema}.signal_waits w
join {schema}.jobs j on j.id = w.job_id and j.epoch = w.epoch
where w.job_id = %(id)s and j.state = 'scheduled' and not w.timed_out
order by w.name
