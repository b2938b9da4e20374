-- 0002_workers: what workers can ask for.

-- Limits: a queue's, over all nodes; whoever claims from such a queue holds its row. A bucket of tokens is kept as the
-- instant at which it will be full again.

alter table {schema}.jobs add column limit_key text collate "C";

create index jobs_partition on {schema}.jobs (queue, limit_key, priority, scheduled_at, id)
    where state = 'available' and suspicions = 0 and limit_key is not null;
create index jobs_partition_running on {schema}.jobs (queue, limit_key)
    where state = 'executing' and limit_key is not null;

create table {schema}.limits (
    queue text primary key,
    configured text not null,  -- what programs said, as JSON
    asked text,  -- what an operator said in its place
    changed_at timestamptz not null,
    turn text not null default '',  -- the partition that was served last
    looked_at timestamptz not null default 'epoch',  -- when jobs of no partition were looked for behind all others
    full_at timestamptz not null default 'epoch'
) with (fillfactor = 50);

create table {schema}.rates (
    queue text not null,
    limit_key text collate "C" not null,
    full_at timestamptz not null,
    primary key (queue, limit_key)
) with (fillfactor = 50);

create index rates_next on {schema}.rates (queue, full_at);
