-- schema_lock: let one migration run at a time.
-- in:    -
-- out:   locked int
-- lock:  an advisory lock until the transaction ends
-- plan:  -
select 1 as locked
from pg_advisory_xact_lock(hashtextextended('{schema}.schema', 0))
