-- release_links: let the links that hold their chains now have their turn: due at once, or when it was asked. One that
--                was cancelled or deleted meanwhile is not in the answer.
-- in:    ids uuid[], now timestamptz
-- out:   id uuid, state text, queue text
-- lock:  the jobs; those that were next in line beforehand are locked already, by reach
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
update {schema}.jobs j
set state = case
        when j.state <> 'suspended' then j.state
        when j.scheduled_at > t.now then 'scheduled'
        else 'available'
    end,
    waiting_on = 0
from t
where j.id = any(%(ids)s::uuid[]) and (j.state = 'suspended' or strpos(j.chain_holds, j.state) > 0)
returning j.id, j.state, j.queue
