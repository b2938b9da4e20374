-- ack: give attempts back. Fenced by epoch: an attempt that is no longer the job's changes nothing. An operator's
--      cancel that came first turns any ending into cancelled.
-- in:    acks json, cancelled text, patience text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  jobs by id
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
a as materialized (
    select *
    from json_to_recordset(%(acks)s::json) as a (id uuid, epoch int, state text, recorded text, rest json)
),
b as materialized (
    select j.id, j.epoch, (a.rest ->> 'is_unspent')::boolean as is_unspent, a.rest ->> 'errors' as errors,
        (a.rest ->> 'delay')::bigint as delay, a.recorded, a.state as asked,
        case when j.cancel_requested_at is null then a.rest ->> 'answer' end as answer,
        case when j.cancel_requested_at is null then a.state else 'cancelled' end as state,
        case
            when a.rest is not null or j.cancel_requested_at is not null
                then '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt || ','
                    || substr(coalesce(a.rest ->> 'error', case
                        when j.cancel_requested_at is not null then %(cancelled)s end), 2)
        end as error
    from t, a
    join {schema}.jobs j on j.id = a.id and j.epoch = a.epoch
    where coalesce(j.state = 'executing', false)  -- so that old statistics of what runs do not choose the plan
        and (select set_config('lock_timeout', %(patience)s, true)) is not null  -- a stranger's lock is not waited for long
    order by a.id
    for update of j
)
update {schema}.jobs j
set state = b.state,
    attempt = j.attempt - case when b.is_unspent then 1 else 0 end,
    epoch = j.epoch + case when b.state = 'available' then 1 else 0 end,
    snoozes = j.snoozes + case when b.asked = 'scheduled' then 1 else 0 end,
    suspicions = case when b.state = 'available' then j.suspicions else 0 end,
    errors = case
        when b.error is null then j.errors
        else case coalesce(b.errors, j.errors)
                when '[]' then '[' else left(coalesce(b.errors, j.errors), -1) || ',' end
            || b.error || ']'
    end,
    scheduled_at = case
        when b.delay is null or b.state = 'cancelled' then j.scheduled_at
        else t.now + b.delay * interval '1 microsecond'
    end,
    finished_at = case when b.state in ('completed', 'cancelled', 'discarded') then t.now end,
    recorded = coalesce(case when j.cancel_requested_at is null then b.recorded end, j.recorded),
    answer = coalesce(j.answer, case b.answer when 'error' then b.error else b.answer end),
    last_answer = case
        when j.answer is null or b.answer is null then j.last_answer
        when b.answer = 'error' then b.error
        else b.answer
    end
from b, t
where j.id = b.id
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents
