-- resign: close producers, once nothing is held in their names.
-- in:    producers uuid[]
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_producers_1
delete from producers
where id in (select value from json_each(:producers))
returning id
