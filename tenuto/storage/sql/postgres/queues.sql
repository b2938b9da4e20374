-- queues: the settings that operators gave to queues, for one node or for all (an empty node).
-- in:    -
-- out:   name text, node text, paused boolean, running boolean, slots int
-- lock:  none
-- plan:  -
select name, node, paused, running, slots
from {schema}.queues
order by name, node
limit 10000
