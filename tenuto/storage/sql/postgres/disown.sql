-- disown: give back, unspent and unsuspected, jobs that a living node holds and does not run.
-- in:    ids uuid[], producers uuid[], cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean, chain_key text
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_executing
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = case when j.cancel_requested_at is null then 'available' else 'cancelled' end,
    attempt = j.attempt - 1,
    epoch = j.epoch + 1,
    finished_at = case when j.cancel_requested_at is not null then t.now end,
    errors = case
        when j.cancel_requested_at is null then j.errors
        else case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
            || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt
            || ',' || substr(%(cancelled)s::text, 2) || ']'
    end
from t
where j.id = any(%(ids)s::uuid[]) and j.state = 'executing' and j.producer_id = any(%(producers)s::uuid[])
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents, j.chain_key
