-- doctor_executing: running jobs that no live node holds, with a minute's patience for the lifeline to take them.
-- in:    now timestamptz
-- out:   id text, detail text
-- lock:  none
-- plan:  jobs_executing
select j.id, 'runs on ' || coalesce(j.attempted_by, '?') || ', whose lease has ended' as detail
from jobs j
left join producers p on p.id = j.producer_id
where j.state = 'executing'
    and j.producer_id is not null
    and coalesce(p.expires_at, j.attempted_at)
        < coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) - 60000000
limit 100
