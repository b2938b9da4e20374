-- prune_waits: delete what is noted of the waits of workflows and jobs that are gone.
-- in:    owners uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  signal_waits_owner
delete from signal_waits
where owner_id in (select value from json_each(:owners))
