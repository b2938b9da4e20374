-- failed_steps: the names of the steps that did not complete, of workflows that finished; the first hundred of each.
-- in:    ids uuid[]
-- out:   workflow_id uuid, name text
-- lock:  none
-- plan:  sqlite_autoindex_workflow_nodes_1
select workflow_id, name
from (
    select workflow_id, name, row_number() over (partition by workflow_id order by position) as nth
    from workflow_nodes
    where workflow_id in (select value from json_each(:ids)) and fate <> 'completed'
)
where nth <= 100
