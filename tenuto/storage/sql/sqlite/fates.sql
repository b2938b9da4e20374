-- fates: the fates that steps have now, read before an operator's retry takes them back.
-- in:    ids uuid[]
-- out:   workflow_id uuid, fate text
-- lock:  the write lock is held
-- plan:  workflow_nodes_job
select workflow_id, fate
from workflow_nodes
where job_id in (select value from json_each(:ids)) and fate is not null
