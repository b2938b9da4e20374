-- rescue: take jobs back from processes that died. Each death is a suspicion against all that ran in it; the third
--         one of the only suspect in a process discards it. No attempt is spent.
-- in:    ids uuid[], producers uuid[], error text, cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
suspects as materialized (
    select p.node, count(*) as suspects
    from jobs j
    join producers p on p.id = j.producer_id
    where j.id in (select value from json_each(:ids)) and j.state = 'executing' and j.suspicions > 0
    group by p.node
),
taken as materialized (
    select j.id,
        case
            when j.cancel_requested_at is not null then 'cancelled'
            when j.suspicions >= 2 and s.suspects = 1 then 'discarded'
            else 'available'
        end as state
    from jobs j
    left join producers p on p.id = j.producer_id
    left join suspects s on s.node = p.node
    where j.id in (select value from json_each(:ids))
        and j.state = 'executing'
        and (p.id is null or p.id in (select value from json_each(:producers)))
)
update jobs
set state = taken.state,
    attempt = jobs.attempt - 1,
    epoch = jobs.epoch + 1,
    rescues = jobs.rescues + 1,
    suspicions = jobs.suspicions + 1,
    finished_at = case when taken.state <> 'available' then t.now end,
    errors = case taken.state
        when 'available' then jobs.errors
        else case jobs.errors when '[]' then '[' else substr(jobs.errors, 1, length(jobs.errors) - 1) || ',' end
            || '{"at":' || t.now || ',"attempt":' || jobs.attempt || ','
            || substr(case taken.state when 'discarded' then :error else :cancelled end, 2) || ']'
    end
from taken, t
where jobs.id = taken.id
returning id, state, queue, workflow_id, has_dependents, chain_key
