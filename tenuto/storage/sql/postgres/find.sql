-- find: the jobs that a filter names, newest first, from before the last one of the page before.
-- in:    states text[], queue text, worker text, workflow_id uuid, tag text, before uuid, max int
-- out:   id uuid, state text, queue text, worker text, args text, meta text, tags text, errors text, attempt int,
--        max_attempts int, priority int, epoch int, timeout bigint, inserted_at timestamptz, scheduled_at
--        timestamptz, attempted_at timestamptz, attempted_by text, finished_at timestamptz, cancel_requested_at
--        timestamptz, snoozes int, rescues int, suspicions int, waiting_on int, has_needs boolean, has_dependents
--        boolean, workflow_id uuid, has_hooks boolean, deadline_at
--        timestamptz, deadline_force boolean, chain_key text, awaited boolean, unique_key text
-- lock:  none
-- plan:  jobs_pkey
select
    id, state, queue, worker, args, meta, tags, errors, attempt, max_attempts, priority, epoch, timeout,
    inserted_at, scheduled_at, attempted_at, attempted_by, finished_at, cancel_requested_at, snoozes,
    rescues, suspicions, waiting_on, has_needs, has_dependents, workflow_id, has_hooks,
    deadline_at, deadline_force, chain_key, awaited,
    case when unique_held then json_build_object('key', unique_key, 'states', unique_states)::text end as unique_key
from {schema}.jobs
where (%(states)s::text[] is null or state = any(%(states)s::text[]))
    and (%(queue)s::text is null or queue = %(queue)s)
    and (%(worker)s::text is null or worker = %(worker)s)
    and (%(workflow_id)s::uuid is null or workflow_id = %(workflow_id)s)
    and (%(tag)s::text is null or position(%(tag)s in tags) > 0)
    and (%(before)s::uuid is null or id < %(before)s::uuid)
order by id desc
limit %(max)s
