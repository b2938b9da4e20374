-- time_out: end waits whose time is over and for which no signal came in it, for good.
-- in:    job_id uuid, names json, now timestamptz
-- out:   -
-- lock:  the waits
-- plan:  signal_waits_pkey
update {schema}.signal_waits w
set timed_out = true
where w.job_id = %(job_id)s
    and w.name in (select n.name from json_array_elements_text(%(names)s::json) as n (name))
    and not w.timed_out
    and w.deadline_at <= coalesce(%(now)s::timestamptz, clock_timestamp())
    and not exists (
        select 1
        from {schema}.signals s
        where s.owner_id = w.owner_id and s.name = w.name and s.sent_at <= w.deadline_at
    )
