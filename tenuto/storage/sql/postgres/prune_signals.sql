-- prune_signals: delete the signals of workflows and jobs that are gone.
-- in:    owners uuid[]
-- out:   -
-- lock:  none
-- plan:  signals_pkey
delete from {schema}.signals
where owner_id = any(%(owners)s::uuid[])
