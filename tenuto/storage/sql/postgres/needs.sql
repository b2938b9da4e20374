-- needs: what claimed steps may read: their deps' results, and their own earlier ones for those that ran before.
-- in:    ids uuid[], again uuid[], budget bigint
-- out:   job_id uuid, name text, result text, has_result boolean, met boolean, is_own boolean,
--        sealed_by uuid
-- lock:  none; results stay out of the answer when together they are over the budget (bytes)
-- plan:  edges_pkey
with wanted as (
    select e.job_id, n.name, n.result, n.job_id as result_of, e.met, false as is_own
    from {schema}.edges e
    join {schema}.workflow_nodes n on n.job_id = e.needs_id
    where e.job_id = any(%(ids)s::uuid[])
    union all
    select n.job_id, n.name, n.result, n.job_id, true, true
    from {schema}.workflow_nodes n
    where n.job_id = any(%(again)s::uuid[]) and n.result is not null
)
select
    job_id, name, case when sum(octet_length(result)) over () <= %(budget)s then result end as result,
    result is not null as has_result, met, is_own,
    case when substr(result, 1, 11) = '{"$sealed":' then result_of end as sealed_by
from wanted
