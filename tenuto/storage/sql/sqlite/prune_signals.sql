-- prune_signals: delete the signals of workflows and jobs that are gone.
-- in:    owners uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_signals_1
delete from signals
where owner_id in (select value from json_each(:owners))
