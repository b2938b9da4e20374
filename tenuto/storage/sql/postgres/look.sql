-- look: what has come of the signals that one job waits for: the value of one that came in time, the first to come first.
-- in:    job_id uuid, owner_id uuid, names json, now timestamptz
-- out:   name text, value text, is_over boolean
-- lock:  none
-- plan:  signals_pkey
select n.name,
    case when not coalesce(w.timed_out, false) and coalesce(s.sent_at <= w.deadline_at, true) then s.value end as value,
    coalesce(w.timed_out or w.deadline_at <= coalesce(%(now)s::timestamptz, clock_timestamp()), false) as is_over
from json_array_elements_text(%(names)s::json) as n (name)
left join {schema}.signals s on s.owner_id = %(owner_id)s and s.name = n.name
left join {schema}.signal_waits w on w.job_id = %(job_id)s and w.name = n.name
order by s.sent_at, n.name
