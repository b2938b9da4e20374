-- reach: lock, in id order and as one set, every job that the ending of :ids may change: these jobs, those
--        behind them, in their chains too, through groups, which may complete by it, and behind the :bad ones (or ones
--        an operator cancelled) everything a cascade may reach.
--        The arrays hold the planner to the indexes, and to few rows each: for what it would else believe there are, a
--        hash table of megabytes is laid out each time.
-- in:    ids uuid[], bad uuid[], patience text
-- out:   id uuid, chain_key text
-- lock:  jobs by id
-- plan:  edges_needs
with recursive mine as materialized (
    select j.id, j.chain_key, j.id = any(%(bad)s::uuid[]) or j.cancel_requested_at is not null as is_bad
    from {schema}.jobs j
    where j.id = any(%(ids)s::uuid[])
),
doomed (id) as (
    select unnest(array(select id from mine where is_bad))
    union
    select e.id
    from doomed d
    cross join lateral unnest(array(
        select e.job_id from {schema}.edges e where e.needs_id = d.id and not e.met)) as e (id)
),
ending (id) as (
    select unnest(%(ids)s::uuid[]) union all select id from doomed
),
groups (id) as (
    select unnest(array(
        select e.job_id from {schema}.edges e where e.of_group and e.needs_id = any(array(select id from ending))))
    union
    select e.id
    from groups g
    cross join lateral unnest(array(
        select e.job_id from {schema}.edges e where e.of_group and e.needs_id = g.id)) as e (id)
),
reached (id) as (
    select id from ending
    union all
    select e.job_id
    from {schema}.edges e
    where e.needs_id = any(array(select id from ending union all select id from groups))
    union all
    select (
        select n.id
        from {schema}.jobs n
        where n.chain_key = m.chain_key and (n.state = 'suspended' or strpos(n.chain_holds, n.state) > 0)
        order by n.chain_seq
        limit 1)
    from mine m
    where m.chain_key is not null
)
select j.id, j.chain_key
from {schema}.jobs j
where j.id = any(array(select id from reached))
    and (select set_config('lock_timeout', %(patience)s, true)) is not null  -- for the whole transaction
order by j.id
for update
