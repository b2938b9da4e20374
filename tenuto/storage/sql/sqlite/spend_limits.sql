-- spend_limits: keep what a claim took of a queue's bucket, which partition it served last, and that from :began on it
--               looked for jobs of none behind all others: ten times as long passes until the next look. A bucket owes
--               no more than an empty one does: the clock may have been set back, or the rate changed.
-- in:    queue text, cost bigint, most_debt bigint, turn text, began timestamptz, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_limits_1
with t (now) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
)
update limits
set turn = :turn,
    looked_at = case
        when :began is null then looked_at
        else (select t.now + min(10000000, 10 * (t.now - :began)) from t)
    end,
    full_at = case
        when :most_debt = 0 then full_at  -- there is no rate
        else max((select now from t), min(full_at, (select now from t) + :most_debt)) + :cost
    end
where queue = :queue
