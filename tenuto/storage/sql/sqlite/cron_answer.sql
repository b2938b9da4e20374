-- cron_answer: let one node run an entry for which somebody asked.
-- in:    name text, worker text, job_id uuid
-- out:   name text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_crons_1
update crons
set asked = 0,
    job_id = :job_id
where name = :name and asked and worker = :worker
returning name
