-- rivals: jobs whose keys others hold, or would take first, if all of :ids that ended or wait were retried now.
-- in:    ids uuid[]
-- out:   id uuid, rival uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with asking as materialized (
    select id, unique_key, first_value(id) over (partition by unique_key order by unique_held desc, id) as first
    from jobs
    where id in (select value from json_each(:ids))
        and unique_key is not null
        and state in ('scheduled', 'retryable', 'completed', 'cancelled', 'discarded')
        and instr(unique_states, case
            when chain_key is null and waiting_on = 0 then 'available'
            when exists (select 1 from chains c where c.key = jobs.chain_key and c.held_by = jobs.id) then 'available'
            else 'suspended'
        end) > 0
)
select a.id, coalesce(h.id, a.first) as rival
from asking a
left join jobs h on h.unique_key = a.unique_key and h.unique_held
where coalesce(h.id, a.first) <> a.id
