-- lock_chains: hold chains still, so that the next statement sees every link there is, and no other comes meanwhile.
-- in:    keys text[]
-- out:   key text
-- lock:  the write lock is held
-- plan:  -
select value as key
from json_each(:keys)
