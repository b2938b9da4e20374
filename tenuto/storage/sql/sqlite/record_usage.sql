-- record_usage: keep what attempts used of models; a record that is kept already stays as it is. Not fenced.
-- in:    usages json, now timestamptz
-- out:   -
-- lock:  the write lock is held
-- plan:  -
insert into usage (
    id, job_id, workflow_id, workflow_name, step, worker, attempt, model, input_tokens, output_tokens, cached_tokens,
    latency, at)
select
    json_extract(value, '$.id'), json_extract(value, '$.job_id'), json_extract(value, '$.workflow_id'),
    json_extract(value, '$.workflow_name'), n.name, json_extract(value, '$.worker'), json_extract(value, '$.attempt'),
    json_extract(value, '$.model'), json_extract(value, '$.input_tokens'), json_extract(value, '$.output_tokens'),
    json_extract(value, '$.cached_tokens'), json_extract(value, '$.latency'),
    coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
from json_each(:usages) u
left join workflow_nodes n on n.job_id = json_extract(u.value, '$.job_id')
where true
on conflict (id) do nothing
