-- schema_exists: whether there is a table of versions at all.
-- in:    -
-- out:   found boolean
-- lock:  none
-- plan:  -
select to_regclass('{schema}.schema') is not null as found
