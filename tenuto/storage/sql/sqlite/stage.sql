-- stage: make due what was scheduled or waits for a retry, oldest first.
-- in:    max int, now timestamptz
-- out:   queue text
-- lock:  the write lock is held
-- plan:  jobs_stage
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = 'available'
where rowid in (
    select rowid
    from jobs
    where state in ('scheduled', 'retryable') and scheduled_at <= (select now from t)
    order by scheduled_at, id
    limit :max
)
returning queue
