-- park: give back jobs that wait for signals: until one comes or the first of their times is over, or at once where that has been.
-- in:    acks json, cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
b as materialized (
    select j.id, j.cancel_requested_at is not null as is_cancelled, min(w.deadline_at) as until,
        coalesce(max(coalesce(w.deadline_at <= t.now, 0) or s.name is not null), 0) as is_ripe
    from t, json_each(:acks) a
    cross join jobs j on j.id = json_extract(a.value, '$.id') and j.epoch = json_extract(a.value, '$.epoch')
    left join signal_waits w on w.job_id = j.id and w.epoch = j.epoch
    left join signals s on s.owner_id = w.owner_id and s.name = w.name
    where j.state = 'executing'
    group by j.id
)
update jobs
set state = case when b.is_cancelled then 'cancelled' when b.is_ripe then 'available' else 'scheduled' end,
    attempt = jobs.attempt - 1,
    suspicions = 0,
    scheduled_at = case
        when b.is_cancelled then jobs.scheduled_at
        when b.is_ripe then t.now
        else coalesce(b.until, 32501001600000000)  -- the first of December 2999
    end,
    finished_at = case when b.is_cancelled then t.now end,
    errors = case
        when not b.is_cancelled then jobs.errors
        else case jobs.errors when '[]' then '[' else substr(jobs.errors, 1, length(jobs.errors) - 1) || ',' end
            || '{"at":' || t.now || ',"attempt":' || jobs.attempt
            || ',' || substr(:cancelled, 2) || ']'
    end
from b, t
where jobs.id = b.id
returning id, state, queue, workflow_id, has_dependents
