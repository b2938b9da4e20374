-- gate: give back steps that were claimed before their needs were met, with the count of those needs repaired. One
--       whose need has ended badly meanwhile is cancelled: nothing would ever release it.
-- in:    acks json, cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
a as materialized (
    select json_extract(value, '$.id') as id, json_extract(value, '$.epoch') as epoch
    from json_each(:acks)
),
b as materialized (
    select a.id, a.epoch, count(e.job_id) as unmet,
        min('it needs step ' || n.name || ', which was ' || n.fate) as spoilt
    from a
    left join edges e on e.job_id = a.id and not e.met
    left join workflow_nodes n on n.job_id = e.needs_id
    group by a.id, a.epoch
),
c as materialized (
    select j.id, j.epoch, b.unmet,
        case
            when j.cancel_requested_at is not null then :cancelled
            when b.spoilt is not null
            then '{"kind":"cancel","type":"Cancel","message":' || json_quote(b.spoilt) || ',"traceback":""}'
        end as error
    from b
    join jobs j on j.id = b.id and j.epoch = b.epoch and j.state = 'executing'
)
update jobs
set state = case when c.error is not null then 'cancelled' when c.unmet > 0 then 'suspended' else 'available' end,
    waiting_on = c.unmet,
    attempt = jobs.attempt - 1,
    epoch = jobs.epoch + 1,
    finished_at = case when c.error is not null then t.now end,
    errors = case
        when c.error is null then jobs.errors
        else case jobs.errors when '[]' then '[' else substr(jobs.errors, 1, length(jobs.errors) - 1) || ',' end
            || '{"at":' || t.now || ',"attempt":' || jobs.attempt
            || ',' || substr(c.error, 2) || ']'
    end
from c, t
where jobs.id = c.id and jobs.epoch = c.epoch and jobs.state = 'executing'
returning id, state, queue, workflow_id, has_dependents
