-- costs: what was used of models, summed up by what is asked for; the turn is how many changes of price came before.
-- in:    step text, model text, since timestamptz, until timestamptz, by text[], turns text[], max int
-- out:   workflow_id uuid, workflow_name text, step text, worker text, model text, period text, turn bigint,
--        requests bigint, input_tokens bigint, output_tokens bigint, cached_tokens bigint, latency bigint
-- lock:  none
-- plan:  -
with u as (
    select
        case when 'workflow' in (select value from json_each(:by)) then workflow_id end as workflow_id,
        case when 'name' in (select value from json_each(:by)) then workflow_name end as workflow_name,
        case when 'step' in (select value from json_each(:by)) then step end as step,
        case when 'worker' in (select value from json_each(:by)) then worker end as worker,
        model,
        case
            when 'hour' in (select value from json_each(:by)) then strftime('%Y-%m-%dT%H', at / 1000000, 'unixepoch')
            when 'day' in (select value from json_each(:by)) then strftime('%Y-%m-%d', at / 1000000, 'unixepoch')
            when 'month' in (select value from json_each(:by)) then strftime('%Y-%m', at / 1000000, 'unixepoch')
        end as period,
        (select count(*) from json_each(:turns) as t where cast(t.value as integer) <= at) as turn,
        input_tokens, output_tokens, cached_tokens, latency
    from usage
    where at >= coalesce(:since, 0) and at < coalesce(:until, 9223372036854775807)
        and (:step is null or step = :step)
        and (:model is null or model = :model)
)
select
    workflow_id, workflow_name, step, worker, model, period, turn, count(*) as requests,
    sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens, sum(cached_tokens) as cached_tokens,
    sum(latency) as latency
from u
group by workflow_id, workflow_name, step, worker, model, period, turn
limit :max
