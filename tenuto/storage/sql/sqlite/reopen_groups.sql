-- reopen_groups: let groups that had completed wait again, since a member of theirs is to run once more.
-- in:    ids uuid[]
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
update jobs
set state = 'suspended', finished_at = null
where id in (select value from json_each(:ids)) and state = 'completed'
