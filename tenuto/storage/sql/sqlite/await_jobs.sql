-- await_jobs: have jobs that have not ended keep their answers from now on.
-- in:    ids uuid[], patience text
-- out:   id uuid, state text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
update jobs
set awaited = true
where id in (select value from json_each(:ids)) and not awaited and state not in ('completed', 'cancelled', 'discarded')
    and :patience is not null
returning id, state
