-- wake: make jobs due that wait for a signal. No queue for one whose row another session holds.
-- in:    owner_id uuid, name text, now timestamptz
-- out:   id uuid, queue text
-- lock:  the write lock is held
-- plan:  signal_waits_owner
update jobs
set state = 'available',
    scheduled_at = coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
where id in (
        select w.job_id
        from signal_waits w
        cross join jobs j on j.id = w.job_id and j.epoch = w.epoch
        where w.owner_id = :owner_id and w.name = :name and not w.timed_out and j.state = 'scheduled'
    )
returning id, queue
