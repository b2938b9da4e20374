-- prune_waits: delete what is noted of the waits of workflows and jobs that are gone.
-- in:    owners uuid[]
-- out:   -
-- lock:  none
-- plan:  signal_waits_owner
delete from {schema}.signal_waits
where owner_id = any(%(owners)s::uuid[])
