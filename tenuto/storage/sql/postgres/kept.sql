-- kept: what is stored of how jobs stand, as far as it answers who awaits them.
-- in:    ids uuid[]
-- out:   id uuid, state text, worker text, errors text, answer text, last_answer text, recorded text, result text,
--        is_step boolean
-- lock:  none
-- plan:  jobs_pkey
select
    j.id, j.state, j.worker, j.errors, j.answer, j.last_answer, j.recorded,
    case when j.state = 'completed' then n.result end as result, j.workflow_id is not null as is_step
from {schema}.jobs j
left join {schema}.workflow_nodes n on n.job_id = j.id
where j.id = any(%(ids)s::uuid[])
