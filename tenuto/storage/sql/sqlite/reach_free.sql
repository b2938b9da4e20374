-- reach_free: like reach, but a job that another session holds is passed over, and is not in the answer. The write lock
--             that is held already covers them all.
-- in:    ids uuid[], bad uuid[], patience text
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  -
select value as id
from json_each(:ids)
where :bad is not null and :patience is not null
