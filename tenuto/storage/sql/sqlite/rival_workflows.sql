-- rival_workflows: of steps whose finished workflow is unique those that cannot bring it to life, since another one of
--                  its name is unfinished, or would live again first.
-- in:    ids uuid[]
-- out:   job_id uuid, name text, rival uuid
-- lock:  the write lock is held
-- plan:  workflow_nodes_job
with asking as materialized (
    select n.job_id, w.id, w.name, min(w.id) over (partition by w.name) as first
    from workflow_nodes n
    join workflows w on w.id = n.workflow_id
    where n.job_id in (select value from json_each(:ids)) and w.is_unique and w.state = 'finished'
)
select a.job_id, a.name, coalesce(r.id, a.first) as rival
from asking a
left join workflows r on r.name = a.name and r.is_unique and r.state = 'running'
where coalesce(r.id, a.first) <> a.id
