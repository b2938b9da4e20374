-- prune_kept: delete jobs that were unique for a period, both long enough over, the earliest period first.
--             A link that ended and keeps its chain is left.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  jobs_kept
with t (until) as (
    select coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
)
delete from jobs
where rowid in (
    select rowid
    from jobs
    where unique_until <= (select until from t)
        and state in ('completed', 'cancelled', 'discarded')
        and finished_at <= (select until from t)
        and coalesce(instr(chain_holds, state), 0) = 0
    order by unique_until, id
    limit :max
)
returning id
