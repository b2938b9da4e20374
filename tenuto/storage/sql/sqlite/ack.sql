-- ack: give attempts back. Fenced by epoch: an attempt that is no longer the job's changes nothing. An operator's
--      cancel that came first turns any ending into cancelled.
-- in:    acks json, cancelled text, patience text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
given as materialized (
    select
        json_extract(value, '$.id') as id, json_extract(value, '$.epoch') as epoch, json_extract(value, '$.state') as state,
        json_extract(value, '$.recorded') as recorded, json_extract(value, '$.rest') as rest  -- what most acks have none of
    from json_each(:acks)
),
a as (
    select
        id, epoch, state, recorded, json_extract(rest, '$.error') as error, json_extract(rest, '$.errors') as errors,
        json_extract(rest, '$.delay') as delay, json_extract(rest, '$.is_unspent') as is_unspent,
        json_extract(rest, '$.answer') as answer
    from given
)
update jobs
set state = case when jobs.cancel_requested_at is null then a.state else 'cancelled' end,
    attempt = jobs.attempt - case when a.is_unspent then 1 else 0 end,
    epoch = jobs.epoch + case when a.state = 'available' and jobs.cancel_requested_at is null then 1 else 0 end,
    snoozes = jobs.snoozes + case when a.state = 'scheduled' then 1 else 0 end,
    suspicions = case when a.state = 'available' and jobs.cancel_requested_at is null then jobs.suspicions else 0 end,
    errors = case
        when coalesce(a.error, jobs.cancel_requested_at) is null then jobs.errors
        else case coalesce(a.errors, jobs.errors)
                when '[]' then '['
                else substr(coalesce(a.errors, jobs.errors), 1, length(coalesce(a.errors, jobs.errors)) - 1) || ','
            end
            || '{"at":' || t.now || ',"attempt":' || jobs.attempt
            || ',' || substr(coalesce(a.error, :cancelled), 2) || ']'
    end,
    scheduled_at = case
        when a.delay is null or jobs.cancel_requested_at is not null then jobs.scheduled_at
        else t.now + a.delay
    end,
    finished_at = case
        when jobs.cancel_requested_at is not null or a.state in ('completed', 'cancelled', 'discarded') then t.now
    end,
    recorded = coalesce(case when jobs.cancel_requested_at is null then a.recorded end, jobs.recorded),
    answer = case
        when jobs.answer is not null or jobs.cancel_requested_at is not null then jobs.answer
        when a.answer = 'error'
            then '{"at":' || t.now || ',"attempt":' || jobs.attempt || ',' || substr(a.error, 2)
        else a.answer
    end,
    last_answer = case
        when jobs.answer is null or a.answer is null or jobs.cancel_requested_at is not null then jobs.last_answer
        when a.answer = 'error'
            then '{"at":' || t.now || ',"attempt":' || jobs.attempt || ',' || substr(a.error, 2)
        else a.answer
    end
from a, t
where jobs.id = a.id and jobs.epoch = a.epoch and jobs.state = 'executing' and :patience is not null
returning id, state, queue, workflow_id, has_dependents
