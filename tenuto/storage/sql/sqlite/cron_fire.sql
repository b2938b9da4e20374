-- cron_fire: let one node fire an entry's minutes up to :until. Nobody does when the entry is paused, was declared
--            otherwise, or has moved on from where it stood when :seen.
-- in:    name text, expression text, timezone text, worker text, seen timestamptz, until timestamptz, job_id uuid
-- out:   name text
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_crons_1
update crons
set done_until = :until,
    fired_minute = case when :job_id is null then fired_minute else :until end,
    job_id = coalesce(:job_id, job_id)
where name = :name
    and done_until = :seen
    and not paused
    and (expression, timezone, worker) = (:expression, :timezone, :worker)
returning name
