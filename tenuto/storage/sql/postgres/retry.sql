-- retry: make jobs due again at once, with room for one more attempt. One that waits for needs which are still to come
--        is suspended until then; one with a need that has ended otherwise is left as it is, but for needs that are
--        retried with it where all of :ids come together. A link that does not hold its chain waits for its turn. What
--        they recorded is gone, unless results are kept.
-- in:    ids uuid[], keep_results boolean, together boolean, now timestamptz
-- out:   id uuid, queue text, workflow_id uuid, chain_key text, chain_seq bigint, is_group boolean
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = case
        when j.worker = 'tenuto.group' then 'suspended'  -- and completed at once, where it waits for nothing
        when j.chain_key is null and j.waiting_on = 0 then 'available'
        when exists (select 1 from {schema}.chains c where c.key = j.chain_key and c.held_by = j.id) then 'available'
        else 'suspended'
    end,
    waiting_on = case
        when j.chain_key is null then j.waiting_on
        when exists (select 1 from {schema}.chains c where c.key = j.chain_key and c.held_by = j.id) then 0
        else 1
    end,
    max_attempts = greatest(j.max_attempts, j.attempt + 1),
    scheduled_at = least(j.scheduled_at, t.now),
    finished_at = null,
    cancel_requested_at = null,
    suspicions = 0,
    unique_held = strpos(j.unique_states, case
        when j.chain_key is null and j.waiting_on = 0 then 'available'
        when exists (select 1 from {schema}.chains c where c.key = j.chain_key and c.held_by = j.id) then 'available'
        else 'suspended'
    end) > 0,
    recorded = case when %(keep_results)s::boolean then j.recorded end
from t
where j.id = any(%(ids)s::uuid[])
    and j.state in ('scheduled', 'retryable', 'completed', 'cancelled', 'discarded')
    and (j.waiting_on = 0 or (j.state in ('completed', 'cancelled', 'discarded') and not exists (
        select 1
        from {schema}.edges e
        left join {schema}.jobs n on n.id = e.needs_id
        where e.job_id = j.id and not e.met and coalesce(n.state in ('completed', 'cancelled', 'discarded'), true)
            and not (%(together)s::boolean and e.needs_id = any(%(ids)s::uuid[]))
    )))
returning j.id, j.queue, j.workflow_id, j.chain_key, j.chain_seq, j.worker = 'tenuto.group' as is_group
