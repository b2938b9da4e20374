-- gate: give back steps that were claimed before their needs were met, with the count of those needs repaired. One
--       whose need has ended badly meanwhile is cancelled: nothing would ever release it.
-- in:    acks json, cancelled text, now timestamptz
-- out:   id uuid, state text, queue text, workflow_id uuid, has_dependents boolean
-- lock:  the jobs are locked already, so that no edge of theirs is met meanwhile
-- plan:  jobs_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now),
a as materialized (
    select a.id, a.epoch, count(e.job_id) as unmet,
        min('it needs step ' || n.name || ', which was ' || n.fate) as spoilt
    from jsonb_to_recordset(%(acks)s::jsonb) as a (id uuid, epoch int)
    left join {schema}.edges e on e.job_id = a.id and not e.met
    left join {schema}.workflow_nodes n on n.job_id = e.needs_id
    group by a.id, a.epoch
),
b as materialized (
    select j.id, j.epoch, a.unmet,
        case
            when j.cancel_requested_at is not null then %(cancelled)s
            when a.spoilt is not null
            then '{"kind":"cancel","type":"Cancel","message":' || to_json(a.spoilt)::text || ',"traceback":""}'
        end as error
    from a
    join {schema}.jobs j on j.id = a.id and j.epoch = a.epoch
    where coalesce(j.state = 'executing', false)  -- so that old statistics of what runs do not choose the plan
)
update {schema}.jobs j
set state = case when b.error is not null then 'cancelled' when b.unmet > 0 then 'suspended' else 'available' end,
    waiting_on = b.unmet,
    attempt = j.attempt - 1,
    epoch = j.epoch + 1,
    finished_at = case when b.error is not null then t.now end,
    errors = case
        when b.error is null then j.errors
        else case j.errors when '[]' then '[' else left(j.errors, -1) || ',' end
            || '{"at":' || (extract(epoch from t.now) * 1000000)::bigint || ',"attempt":' || j.attempt
            || ',' || substr(b.error, 2) || ']'
    end
from b, t
where j.id = b.id
returning j.id, j.state, j.queue, j.workflow_id, j.has_dependents
