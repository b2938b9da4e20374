-- steps: the steps of a workflow in the order they were added, with what their jobs say; long results are left out.
-- in:    workflow_id uuid, after int, max int
-- out:   name text, job_id uuid, position int, worker text, deps text, fate text, has_result boolean, result text,
--        state text, attempt int, errors text, attempted_at timestamptz, finished_at timestamptz,
--        ignore_cancelled boolean, ignore_discarded boolean, ignore_deleted boolean, parent text,
--        waits_for text
-- lock:  none
-- plan:  workflow_nodes_pkey
select
    n.name, n.job_id, n.position, n.worker, n.deps, n.fate, n.result is not null as has_result,
    case when octet_length(n.result) <= 2000 then n.result end as result,
    j.state, j.attempt, j.errors, j.attempted_at, j.finished_at,
    n.ignore_cancelled, n.ignore_discarded, n.ignore_deleted, n.parent,
    case when j.state = 'scheduled' then (
        select json_agg(w.name order by w.name)::text
        from {schema}.signal_waits w
        where w.job_id = j.id and w.epoch = j.epoch and not w.timed_out)
    end as waits_for
from {schema}.workflow_nodes n
left join {schema}.jobs j on j.id = n.job_id
where n.workflow_id = %(workflow_id)s and n.position > %(after)s
order by n.position
limit %(max)s
