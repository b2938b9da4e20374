-- match: the ids that a filter names, in id order, from after the last one of the batch before.
-- in:    states text[], queue text, worker text, workflow_id uuid, tag text, after uuid, max int
-- out:   id uuid
-- lock:  none
-- plan:  sqlite_autoindex_jobs_1
select id
from jobs
where (:states is null or state in (select value from json_each(:states)))
    and (:queue is null or queue = :queue)
    and (:worker is null or worker = :worker)
    and (:workflow_id is null or workflow_id = :workflow_id)
    and (:tag is null or instr(tags, :tag) > 0)
    and id > coalesce(:after, '')
order by id
limit :max
