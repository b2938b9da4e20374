-- member_results: what is in some groups, at any depth, in the order they were added, with their results.
--          A result is sealed also where it is of a worker that is encrypted.
-- in:    ids uuid[], encrypted text[], budget bigint
-- out:   group_id uuid, name text, parent text, is_group boolean, result text, has_result boolean, job_id uuid, worker text,
--        is_sealed boolean
-- lock:  none; results stay out of the answer when together they are over the budget (bytes)
-- plan:  workflow_nodes_parent
with recursive inside as (
    select n.job_id as group_id, n.workflow_id, n.name, n.parent, n.job_id, n.worker, n.position, 0 as depth
    from {schema}.workflow_nodes n
    where n.job_id = any(%(ids)s::uuid[])
    union all
    select i.group_id, m.workflow_id, m.name, m.parent, m.job_id, m.worker, m.position, i.depth + 1
    from inside i
    cross join lateral (
        select n.workflow_id, n.name, n.parent, n.job_id, n.worker, n.position
        from {schema}.workflow_nodes n
        where i.worker = 'tenuto.group' and n.workflow_id = i.workflow_id and n.parent = i.name
        offset 0
    ) m
),
found as (
    select
        i.group_id, i.name, i.parent, i.worker, i.position, n.result, n.job_id,
        n.result is not null and (substr(n.result, 1, 11) = '{"$sealed":' or n.worker = any(%(encrypted)s::text[])) as is_sealed
    from inside i
    join {schema}.workflow_nodes n on n.job_id = i.job_id
    where i.depth > 0
)
select
    group_id, name, parent, worker = 'tenuto.group' as is_group,
    case when sum(octet_length(result)) over () <= %(budget)s then result end as result,
    result is not null as has_result,
    job_id, worker, is_sealed
from found
order by position
