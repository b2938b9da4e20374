-- reach: lock, in id order and as one set, every job that the ending of :ids may change. The write lock that is
--        held already covers them all, so here the answer is :ids, and nothing behind them is looked up.
-- in:    ids uuid[], bad uuid[], patience text
-- out:   id uuid, chain_key text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
select value as id, (select j.chain_key from jobs j where j.id = value) as chain_key
from json_each(:ids)
where :bad is not null and :patience is not null
