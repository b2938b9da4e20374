-- begin_waits: note for which signals running jobs begin to wait. A deadline that is there stays as it is.
-- in:    waits json, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
insert into signal_waits (job_id, name, owner_id, epoch, deadline_at)
select j.id, json_extract(w.value, '$.name'), json_extract(w.value, '$.owner'), j.epoch,
    coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)) + json_extract(w.value, '$.timeout')
from json_each(:waits) w
cross join jobs j on j.id = json_extract(w.value, '$.id') and j.epoch = json_extract(w.value, '$.epoch')
where j.state = 'executing' and j.cancel_requested_at is null
on conflict (job_id, name) do update set epoch = excluded.epoch
