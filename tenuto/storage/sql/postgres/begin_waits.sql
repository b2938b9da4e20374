-- begin_waits: note for which signals running jobs begin to wait. A deadline that is there stays as it is.
-- in:    waits json, now timestamptz
-- out:   -
-- lock:  the jobs and their owners are locked already
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
asked as materialized (
    select *
    from json_to_recordset(%(waits)s::json) as asked (id uuid, epoch int, owner uuid, name text, timeout bigint)
)
insert into {schema}.signal_waits (job_id, name, owner_id, epoch, deadline_at)
select j.id, asked.name, asked.owner, j.epoch, t.now + asked.timeout * interval '1 microsecond'
from t, asked
join {schema}.jobs j on j.id = asked.id and j.epoch = asked.epoch
where coalesce(j.state = 'executing', false)  -- so that old statistics of what runs do not choose the plan
    and j.cancel_requested_at is null
on conflict (job_id, name) do update set epoch = excluded.epoch
