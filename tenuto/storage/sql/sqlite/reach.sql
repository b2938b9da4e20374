-- reach: lock, in id order and as one set, every job that the ending of :ids may change. The write lock that is
--        held already covers them all, so here the answer is :ids and nothing is looked up.
-- in:    ids uuid[], bad uuid[], patience text
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  -
select value as id
from json_each(:ids)
where :bad is not null and :patience is not null
