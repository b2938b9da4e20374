-- holders: who holds the keys that new jobs ask for, by the clock as it stands.
-- in:    jobs json, now timestamptz
-- out:   id uuid, holder uuid, state text, meta text
-- lock:  none
-- plan:  jobs_unique
with t as materialized (
    select (extract(epoch from coalesce(%(now)s::timestamptz, clock_timestamp())) * 1000000)::bigint as tick
),
a as materialized (
    select a.id,
        (a."unique"::json ->> 'key') || coalesce(
            '/' || (a."unique"::json ->> 'period') || '/' || t.tick / (a."unique"::json ->> 'period')::bigint, '') as key
    from t, json_to_recordset(%(jobs)s::json) as a (id uuid, "unique" text)
)
select a.id, j.id as holder, j.state, j.meta
from a
cross join lateral (
    select h.id, h.state, h.meta from {schema}.jobs h where h.unique_held and h.unique_key = a.key offset 0
) j
