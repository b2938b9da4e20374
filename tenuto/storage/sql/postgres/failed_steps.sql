-- failed_steps: the names of the steps that did not complete, of workflows that finished; the first hundred of each.
-- in:    ids uuid[]
-- out:   workflow_id uuid, name text
-- lock:  none
-- plan:  workflow_nodes_pkey
select w.id as workflow_id, n.name
from unnest(%(ids)s::uuid[]) as w (id)
cross join lateral (
    select name
    from {schema}.workflow_nodes
    where workflow_id = w.id and fate <> 'completed'
    order by position
    limit 100
) n
