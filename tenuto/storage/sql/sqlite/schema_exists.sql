-- schema_exists: whether there is a table of versions at all.
-- in:    -
-- out:   found boolean
-- lock:  none
-- plan:  -
select exists (select 1 from sqlite_master where type = 'table' and name = 'schema') as found
