-- time_out: end waits whose time is over and for which no signal came in it, for good.
-- in:    job_id uuid, names json, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_signal_waits_1
update signal_waits
set timed_out = true
where job_id = :job_id
    and name in (select value from json_each(:names))
    and not timed_out
    and deadline_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
    and not exists (
        select 1
        from signals s
        where s.owner_id = signal_waits.owner_id and s.name = signal_waits.name and s.sent_at <= signal_waits.deadline_at
    )
