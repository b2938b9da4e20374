-- prune_jobs: delete jobs that ended longer ago than they are kept, oldest first. A link that ended and keeps its chain
--             is left.
-- in:    keep bigint, max int, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  jobs_finished
delete from jobs
where rowid in (
    select rowid
    from jobs
    where state in ('completed', 'cancelled', 'discarded')
        and unique_until is null  -- else prune_kept does it
        and finished_at <= coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - :keep
        and coalesce(instr(chain_holds, state), 0) = 0
    order by finished_at, id
    limit :max
)
returning id
