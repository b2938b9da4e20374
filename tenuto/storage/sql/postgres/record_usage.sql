-- record_usage: keep what attempts used of models; a record that is kept already stays as it is. Not fenced.
-- in:    usages json, now timestamptz
-- out:   -
-- lock:  the new rows
-- plan:  -
insert into {schema}.usage (
    id, job_id, workflow_id, workflow_name, step, worker, attempt, model, input_tokens, output_tokens, cached_tokens,
    latency, at)
select
    u.id, u.job_id, u.workflow_id, u.workflow_name, n.name, u.worker, u.attempt, u.model, u.input_tokens,
    u.output_tokens, u.cached_tokens, u.latency, coalesce(%(now)s::timestamptz, clock_timestamp())
from json_to_recordset(%(usages)s::json) as u (
    id uuid, job_id uuid, workflow_id uuid, workflow_name text, worker text, attempt int, model text,
    input_tokens bigint, output_tokens bigint, cached_tokens bigint, latency bigint)
left join {schema}.workflow_nodes n on n.job_id = u.job_id
order by u.id
on conflict (id) do nothing
