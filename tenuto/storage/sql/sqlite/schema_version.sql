-- schema_version: the newest migration that was run.
-- in:    -
-- out:   version int
-- lock:  none
-- plan:  -
select max(version) as version
from schema
