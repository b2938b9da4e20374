-- steps: the steps of a workflow in the order they were added, with what their jobs say; long results are left out.
-- in:    workflow_id uuid, after int, max int
-- out:   name text, job_id uuid, position int, worker text, deps text, fate text, has_result boolean, result text,
--        state text, attempt int, errors text, attempted_at timestamptz, finished_at timestamptz,
--        ignore_cancelled boolean, ignore_discarded boolean, ignore_deleted boolean, parent text,
--        waits_for text
-- lock:  none
-- plan:  sqlite_autoindex_workflow_nodes_1
select
    n.name, n.job_id, n.position, n.worker, n.deps, n.fate, n.result is not null as has_result,
    case when length(cast(n.result as blob)) <= 2000 then n.result end as result,
    j.state, j.attempt, j.errors, j.attempted_at, j.finished_at,
    n.ignore_cancelled, n.ignore_discarded, n.ignore_deleted, n.parent,
    case when j.state = 'scheduled' then (
        select json_group_array(w.name)
        from signal_waits w
        where w.job_id = j.id and w.epoch = j.epoch and not w.timed_out)
    end as waits_for
from workflow_nodes n
left join jobs j on j.id = n.job_id
where n.workflow_id = :workflow_id and n.position > :after
order by n.position
limit :max
