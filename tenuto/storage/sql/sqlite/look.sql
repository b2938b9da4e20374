-- look: what has come of the signals that one job waits for: the value of one that came in time, the first to come first.
-- in:    job_id uuid, owner_id uuid, names json, now timestamptz
-- out:   name text, value text, is_over boolean
-- lock:  none
-- plan:  sqlite_autoindex_signals_1
select n.value as name,
    case when not coalesce(w.timed_out, 0) and coalesce(s.sent_at <= w.deadline_at, 1) then s.value end as value,
    coalesce(w.timed_out or w.deadline_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)), 0) as is_over
from json_each(:names) n
left join signals s on s.owner_id = :owner_id and s.name = n.value
left join signal_waits w on w.job_id = :job_id and w.name = n.value
order by s.sent_at is null, s.sent_at, n.value
