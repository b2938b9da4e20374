-- doctor_executing: running jobs that no live node holds, with a minute's patience for the lifeline to take them.
-- in:    now timestamptz
-- out:   id text, detail text
-- lock:  none
-- plan:  jobs_executing
select j.id::text as id, 'runs on ' || coalesce(j.attempted_by, '?') || ', whose lease has ended' as detail
from {schema}.jobs j
left join {schema}.producers p on p.id = j.producer_id
where j.state = 'executing'
    and j.producer_id is not null
    and coalesce(p.expires_at, j.attempted_at)
        < coalesce(%(now)s::timestamptz, clock_timestamp()) - interval '1 minute'
limit 100
