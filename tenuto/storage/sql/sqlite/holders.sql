-- holders: who holds the keys that new jobs ask for, by the clock as it stands.
-- in:    jobs json, now timestamptz
-- out:   id uuid, holder uuid, state text, meta text
-- lock:  the write lock is held
-- plan:  jobs_unique
with t (tick) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
),
a as materialized (
    select
        json_extract(value, '$.id') as id, json_extract(json_extract(value, '$.unique'), '$.key') as key,
        json_extract(json_extract(value, '$.unique'), '$.period') as period
    from json_each(:jobs)
)
select a.id, j.id as holder, j.state, j.meta
from a
join t
join jobs j on j.unique_key = a.key || coalesce('/' || a.period || '/' || (t.tick / a.period), '') and j.unique_held
