-- schema_migrated: keep that a migration was run.
-- in:    version int
-- out:   -
-- lock:  none but the new row
-- plan:  -
insert into schema (version)
values (:version)
