-- sizes: how many pages the tables have that plans depend on.
-- in:    -
-- out:   pages bigint
-- lock:  none
-- plan:  -
select pg_relation_size(name::regclass) / 8192 as pages
from unnest(array['{schema}.jobs', '{schema}.workflow_nodes', '{schema}.edges', '{schema}.workflows']) name
