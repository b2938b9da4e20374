-- schema_lock: let one migration run at a time.
-- in:    -
-- out:   locked int
-- lock:  the write lock is held
-- plan:  -
select 1 as locked
