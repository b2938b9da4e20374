-- spend_limits: keep what a claim took of a queue's bucket, which partition it served last, and that it looked for jobs
--               of none behind all others.
-- in:    queue text, cost bigint, most_debt bigint, turn text, looked boolean, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_limits_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update limits
set turn = :turn,
    looked_at = case when :looked then (select now from t) else looked_at end,
    full_at = case
        when :cost = 0 then full_at
        else max((select now from t), min(full_at, (select now from t) + :most_debt)) + :cost
    end
where queue = :queue
