-- cron_fire: let one node fire an entry's minutes up to :until. Nobody does when the entry is paused, was declared
--            otherwise, or has moved on from where it stood when :seen.
-- in:    name text, expression text, timezone text, worker text, seen timestamptz, until timestamptz, job_id uuid
-- out:   name text
-- lock:  the entry
-- plan:  crons_pkey
update {schema}.crons
set done_until = %(until)s::timestamptz,
    fired_minute = case when %(job_id)s::uuid is null then fired_minute else %(until)s::timestamptz end,
    job_id = coalesce(%(job_id)s::uuid, job_id)
where name = %(name)s
    and done_until = %(seen)s::timestamptz
    and not paused
    and (expression, timezone, worker) = (%(expression)s, %(timezone)s, %(worker)s)
returning name
