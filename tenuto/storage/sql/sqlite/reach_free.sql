-- reach_free: like reach, but a job that another session holds is passed over, and is not in the answer. The write lock
--             that is held already covers them all.
-- in:    ids uuid[], bad uuid[], patience text
-- out:   id uuid, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
select value as id, (select j.chain_key from jobs j where j.id = value) as chain_key
from json_each(:ids)
where :bad is not null and :patience is not null
