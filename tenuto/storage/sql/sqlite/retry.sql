-- retry: make jobs due again at once, with room for one more attempt. One that waits for needs which are still to come
--        is suspended until then; one with a need that has ended otherwise is left as it is, but for needs that are
--        retried with it where all of :ids come together. A link that does not hold its chain waits for its turn. What
--        they recorded is gone, unless results are kept.
-- in:    ids uuid[], keep_results boolean, together boolean, now timestamptz
-- out:   id uuid, queue text, workflow_id uuid, chain_key text, chain_seq bigint, is_group boolean
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update jobs
set state = case
        when worker = 'tenuto.group' then 'suspended'  -- and completed at once, where it waits for nothing
        when chain_key is null and waiting_on = 0 then 'available'
        when exists (select 1 from chains c where c.key = jobs.chain_key and c.held_by = jobs.id) then 'available'
        else 'suspended'
    end,
    waiting_on = case
        when chain_key is null then waiting_on
        when exists (select 1 from chains c where c.key = jobs.chain_key and c.held_by = jobs.id) then 0
        else 1
    end,
    max_attempts = max(max_attempts, attempt + 1),
    scheduled_at = min(scheduled_at, (select now from t)),
    finished_at = null,
    cancel_requested_at = null,
    suspicions = 0,
    unique_held = unique_key is not null
        and instr(unique_states, case
            when chain_key is null and waiting_on = 0 then 'available'
            when exists (select 1 from chains c where c.key = jobs.chain_key and c.held_by = jobs.id) then 'available'
            else 'suspended'
        end) > 0,
    recorded = case when :keep_results then recorded end
where id in (select value from json_each(:ids))
    and state in ('scheduled', 'retryable', 'completed', 'cancelled', 'discarded')
    and (waiting_on = 0 or (state in ('completed', 'cancelled', 'discarded') and not exists (
        select 1
        from edges e
        left join jobs n on n.id = e.needs_id
        where e.job_id = jobs.id and not e.met and coalesce(n.state in ('completed', 'cancelled', 'discarded'), 1)
            and not (:together and e.needs_id in (select value from json_each(:ids)))
    )))
returning id, queue, workflow_id, chain_key, chain_seq, worker = 'tenuto.group' as is_group
