-- expire: end the leases of producers whose process is known to be gone, so that nobody waits for them.
-- in:    producers uuid[]
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_producers_1
update producers
set expires_at = 0
where id in (select value from json_each(:producers))
returning id
