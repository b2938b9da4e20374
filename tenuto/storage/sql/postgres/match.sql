-- match: the ids that a filter names, in id order, from after the last one of the batch before.
-- in:    states text[], queue text, worker text, workflow_id uuid, tag text, after uuid, max int
-- out:   id uuid
-- lock:  none
-- plan:  jobs_pkey
select id
from {schema}.jobs
where (%(states)s::text[] is null or state = any(%(states)s::text[]))
    and (%(queue)s::text is null or queue = %(queue)s)
    and (%(worker)s::text is null or worker = %(worker)s)
    and (%(workflow_id)s::uuid is null or workflow_id = %(workflow_id)s)
    and (%(tag)s::text is null or position(%(tag)s in tags) > 0)
    and (%(after)s::uuid is null or id > %(after)s::uuid)
order by id
limit %(max)s
