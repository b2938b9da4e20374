-- take_hooks: take away what was left for the hooks of some workers, oldest first; nobody else gets it.
-- in:    workers text[], max int
-- out:   job_id uuid, worker text, state text, reason text, at timestamptz
-- lock:  skips rows another node holds
-- plan:  hook_outbox_pkey
with mine as materialized (
    select ctid
    from {schema}.hook_outbox
    where worker = any(%(workers)s::text[])
    order by at, job_id
    limit %(max)s
    for update skip locked
)
delete from {schema}.hook_outbox h
using mine
where h.ctid = mine.ctid
returning h.job_id, h.worker, h.state, h.reason, h.at
