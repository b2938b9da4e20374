-- lock_chains: hold chains still, so that the next statement sees every link there is, and no other comes meanwhile.
-- in:    keys text[]
-- out:   key text
-- lock:  chains by key
-- plan:  chains_pkey
select key
from {schema}.chains
where key = any(%(keys)s::text[])
order by key
for update
