-- 0002_workers: what workers can ask for.

-- Limits: a queue's, over all nodes; whoever claims from such a queue holds its row. A bucket of tokens is kept as the
-- instant at which it will be full again.

alter table jobs add column limit_key text;

create index jobs_partition on jobs (queue, limit_key, priority, scheduled_at, id)
    where state = 'available' and suspicions = 0 and limit_key is not null;
create index jobs_partition_running on jobs (queue, limit_key)
    where state = 'executing' and limit_key is not null;

create table limits (
    queue text not null primary key,
    configured text not null,  -- what programs said, as JSON
    asked text,  -- what an operator said in its place
    changed_at integer not null,
    turn text not null default '',  -- the partition that was served last
    looked_at integer not null default 0,  -- when jobs of no partition were looked for behind all others
    full_at integer not null default 0
) strict;

create table rates (
    queue text not null,
    limit_key text not null,
    full_at integer not null,
    primary key (queue, limit_key)
) strict;

create index rates_next on rates (queue, full_at);
