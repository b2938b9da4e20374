-- rivals: jobs whose keys others hold, or would take first, if all of :ids that ended or wait were retried now.
-- in:    ids uuid[]
-- out:   id uuid, rival uuid
-- lock:  none; the jobs are locked already, by reach
-- plan:  jobs_pkey
with asking as materialized (
    select j.id, j.unique_key, first_value(j.id) over (partition by j.unique_key order by j.unique_held desc, j.id) as first
    from {schema}.jobs j
    where j.id = any(%(ids)s::uuid[])
        and j.unique_key is not null
        and j.state in ('scheduled', 'retryable', 'completed', 'cancelled', 'discarded')
        and strpos(j.unique_states, case
            when j.chain_key is null and j.waiting_on = 0 then 'available'
            when exists (select 1 from {schema}.chains c where c.key = j.chain_key and c.held_by = j.id) then 'available'
            else 'suspended'
        end) > 0
)
select a.id, coalesce(h.id, a.first) as rival
from asking a
left join lateral (
    select h.id from {schema}.jobs h where h.unique_held and h.unique_key = a.unique_key offset 0
) h on true
where coalesce(h.id, a.first) <> a.id
