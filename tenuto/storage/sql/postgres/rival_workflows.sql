-- rival_workflows: of steps whose finished workflow is unique those that cannot bring it to life, since another one of
--                  its name is unfinished, or would live again first.
-- in:    ids uuid[]
-- out:   job_id uuid, name text, rival uuid
-- lock:  none; the jobs are locked already, by reach
-- plan:  workflow_nodes_job
with asking as materialized (
    select i.id as job_id, w.id, w.name, min(w.id::text) over (partition by w.name)::uuid as first
    from unnest(%(ids)s::uuid[]) as i (id)
    cross join lateral (
        select n.workflow_id from {schema}.workflow_nodes n where n.job_id = i.id offset 0
    ) n
    cross join lateral (
        select w.id, w.name
        from {schema}.workflows w
        where w.id = n.workflow_id and w.is_unique and w.state = 'finished'
        offset 0
    ) w
)
select a.job_id, a.name, coalesce(r.id, a.first) as rival
from asking a
left join lateral (
    select r.id from {schema}.workflows r where r.name = a.name and r.is_unique and r.state = 'running' offset 0
) r on true
where coalesce(r.id, a.first) <> a.id
