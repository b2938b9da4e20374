-- needs: what claimed steps may read: their deps' results, and their own earlier ones for those that ran before. Of a
--        dep that is a group, its job's id: its members' results are read by another statement.
--        Of a result that is sealed, or is of a worker that is encrypted, also which job's it is, and that worker.
-- in:    ids uuid[], again uuid[], encrypted text[], budget bigint
-- out:   job_id uuid, name text, result text, has_result boolean, met boolean, is_own boolean, sealed_by uuid,
--        worker text, group_id uuid
-- lock:  none; results stay out of the answer when together they are over the budget (bytes)
-- plan:  edges_pkey
with wanted as (
    select
        e.job_id, n.name, n.result, e.met, false as is_own, n.job_id as result_of, n.worker,
        n.result is not null and (substr(n.result, 1, 11) = '{"$sealed":' or n.worker = any(%(encrypted)s::text[])) as is_sealed
    from {schema}.edges e
    join {schema}.workflow_nodes n on n.job_id = e.needs_id
    where e.job_id = any(%(ids)s::uuid[])
    union all
    select
        n.job_id, n.name, n.result, true, true, n.job_id, n.worker,
        n.result is not null and (substr(n.result, 1, 11) = '{"$sealed":' or n.worker = any(%(encrypted)s::text[]))
    from {schema}.workflow_nodes n
    where n.job_id = any(%(again)s::uuid[]) and n.result is not null
)
select
    job_id, name, case when sum(octet_length(result)) over () <= %(budget)s then result end as result,
    result is not null as has_result, met, is_own,
    case when is_sealed then result_of end as sealed_by, case when is_sealed then worker end as worker,
    case when worker = 'tenuto.group' then result_of end as group_id
from wanted
