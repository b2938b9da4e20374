-- fates: the fates that steps have now, read before an operator's retry takes them back.
-- in:    ids uuid[]
-- out:   workflow_id uuid, fate text
-- lock:  the jobs are locked already, by reach
-- plan:  workflow_nodes_job
select workflow_id, fate
from {schema}.workflow_nodes
where job_id = any(%(ids)s::uuid[]) and fate is not null
