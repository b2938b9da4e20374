-- 0002_workers: what workers may ask for beyond being run.

-- Cron entries, as the node that registered each last declared it.

create table crons (
    name text not null primary key,
    expression text not null,
    timezone text not null,
    worker text not null,
    catch_up integer not null,
    paused integer not null default 0,
    asked integer not null default 0,
    done_until integer not null,  -- no minute up to here is fired any more
    fired_minute integer,
    job_id text,
    registered_at integer not null,
    known_until integer not null
) strict;

-- Hooks: a job whose worker wants to hear when others end it (an operator, a need, a deadline, the rule of poison) has
-- has_hooks. What ends it so leaves a row, and a node that knows the worker takes it away and calls the hook.

alter table jobs add column has_hooks integer not null default 0;

create table hook_outbox (
    worker text not null,
    at integer not null,
    job_id text not null,
    state text not null check (state in ('cancelled', 'discarded')),
    reason text not null,
    primary key (worker, at, job_id)
) strict;

create index hook_outbox_at on hook_outbox (at);

-- Unique jobs: a job holds its unique_key while unique_held, which no other may then. It gives it up for good when it
-- takes a state that is not in unique_states: a trigger does that, so that no statement has to know. Where the key is of
-- a period, the row is kept until unique_until at least.

alter table jobs add column unique_key text;
alter table jobs add column unique_states text;
alter table jobs add column unique_until integer;
alter table jobs add column unique_held integer not null default 0;

create unique index jobs_unique on jobs (unique_key) where unique_held;

drop index jobs_finished;
create index jobs_finished on jobs (finished_at, id)
    where state in ('completed', 'cancelled', 'discarded') and unique_until is null;
create index jobs_kept on jobs (unique_until, id) where unique_until is not null;

create trigger jobs_unique after update of state on jobs
    when new.unique_held and instr(new.unique_states, new.state) = 0
begin
    update jobs set unique_held = 0 where id = new.id;
end;

-- Deadlines: a job that waits past its deadline_at is cancelled by a sweep; deadline_force ends one that runs, too.

alter table jobs add column deadline_at integer;
alter table jobs add column deadline_force integer not null default 0;

create index jobs_deadline on jobs (deadline_at, id)
    where deadline_at is not null and state in ('suspended', 'scheduled', 'available', 'retryable');

-- Limits: a queue's, over all nodes; whoever claims from such a queue holds its row. A bucket of tokens is kept as the
-- instant at which it will be full again.

alter table jobs add column limit_key text;

create index jobs_partition on jobs (queue, limit_key, priority, scheduled_at, id)
    where limit_key is not null and state = 'available' and suspicions = 0;
create index jobs_partition_running on jobs (queue, limit_key)
    where limit_key is not null and state = 'executing';

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

-- Recorded: what a job of a recorded worker returned, packed; null where nothing is.
alter table jobs add column recorded text;

-- Chains: jobs of one key run one after the other, in the order of chain_seq. A link whose turn has not come is
-- suspended and waits for one thing, its turn; the chain's holder alone may run. chain_holds names the endings
-- (cancelled, discarded) after which a link keeps its chain.

alter table jobs add column chain_key text;
alter table jobs add column chain_seq integer;
alter table jobs add column chain_holds text;

create index jobs_links on jobs (chain_key, chain_seq)
    where chain_key is not null and (state = 'suspended' or instr(chain_holds, state) > 0);

create table chains (
    key text not null primary key,
    next_seq integer not null,
    held_by text,
    freed_at integer  -- null while it is held
) strict;

create index chains_free on chains (freed_at, key) where freed_at is not null;
