-- workflow_costs: what one workflow used of models, summed up as costs does.
-- in:    workflow uuid, step text, model text, since timestamptz, until timestamptz, by text[], turns text[], max int
-- out:   workflow_id uuid, workflow_name text, step text, worker text, model text, period text, turn bigint,
--        requests bigint, input_tokens bigint, output_tokens bigint, cached_tokens bigint, latency bigint
-- lock:  none
-- plan:  usage_workflow
with u as (
    select
        case when 'workflow' = any(%(by)s::text[]) then workflow_id end as workflow_id,
        case when 'name' = any(%(by)s::text[]) then workflow_name end as workflow_name,
        case when 'step' = any(%(by)s::text[]) then step end as step,
        case when 'worker' = any(%(by)s::text[]) then worker end as worker,
        model,
        case
            when 'hour' = any(%(by)s::text[]) then to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24')
            when 'day' = any(%(by)s::text[]) then to_char(at at time zone 'UTC', 'YYYY-MM-DD')
            when 'month' = any(%(by)s::text[]) then to_char(at at time zone 'UTC', 'YYYY-MM')
        end as period,
        (select count(*) from unnest(%(turns)s::bigint[]) as t (turn)
            where t.turn <= (extract(epoch from at) * 1000000)::bigint) as turn,
        input_tokens, output_tokens, cached_tokens, latency
    from {schema}.usage
    where workflow_id = %(workflow)s and (%(since)s::timestamptz is null or at >= %(since)s) and (%(until)s::timestamptz is null or at < %(until)s)
        and (%(step)s::text is null or step = %(step)s)
        and (%(model)s::text is null or model = %(model)s)
)
select
    workflow_id, workflow_name, step, worker, model, period, turn, count(*) as requests,
    sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
    sum(cached_tokens)::bigint as cached_tokens, sum(latency)::bigint as latency
from u
group by workflow_id, workflow_name, step, worker, model, period, turn
limit %(max)s
