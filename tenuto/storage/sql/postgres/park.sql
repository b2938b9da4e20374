-- park: give back jobs that wait for signals: until one comes or the first of their times is over, or at once where that has been.
-- in:    acks json, cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the jobs and their owners are locked already, so that no signal comes meanwhile
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
a as materialized (
    select *
    from json_to_recordset(%(acks)s::json) as a (id uuid, epoch int)
),
b as materialized (
    select j.id, j.cancel_requested_at is not null as is_cancelled, w.until, coalesce(w.is_ripe, false) as is_ripe
    from t, a
    join {schema}.jobs j on j.id = a.id and j.epoch = a.epoch
    cross join lateral (
        select min(w.deadline_at) as until, bool_or(w.deadline_at <= t.now or s.name is not null) as is_ripe
        from {schema}.signal_waits w
        left join {schema}.signals s on s.owner_id = w.owner_id and s.name = w.name
        where w.job_id = a.id and w.epoch = a.epoch
        offset 0
    ) w
    where coalesce(j.state = 'executing', false)  -- so that old statistics of what runs do not choose the plan
)
update {schema}.jobs j
set state = case when b.is_cancelled then 'cancelled' when b.is_ripe then 'available' else 'scheduled' end,
    attempt = j.attempt - 1,
    suspicions = 0,
    scheduled_at = case
        when b.is_cancelled then j.scheduled_at
        when b.is_ripe then t.now
        else coalesce(b.until, timestamptz '2999-12-01 00:00:00+00')
    end,
    finished_at = case when b.is_cancelled then t.now end,
    errors = case
        when not b.is_cancelled then j.errors
        else case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
            || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt
            || ',' || substr(%(cancelled)s::text, 2) || ']'
    end
from b, t
where j.id = b.id
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents
