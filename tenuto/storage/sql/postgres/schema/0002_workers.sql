-- 0002_workers: what workers may ask for beyond being run.

-- Cron entries, as the node that registered each last declared it.

create table {schema}.crons (
    name text primary key,
    expression text not null,
    timezone text not null,
    worker text not null,
    catch_up bigint not null,
    paused boolean not null default false,
    asked boolean not null default false,
    done_until timestamptz not null,  -- no minute up to here is fired any more
    fired_minute timestamptz,
    job_id uuid,
    registered_at timestamptz not null,
    known_until timestamptz not null
) with (fillfactor = 50);

-- Hooks: a job whose worker wants to hear when others end it (an operator, a need, a deadline, the rule of poison) has
-- has_hooks. What ends it so leaves a row, and a node that knows the worker takes it away and calls the hook.

alter table {schema}.jobs add column has_hooks boolean not null default false;

create table {schema}.hook_outbox (
    worker text not null,
    at timestamptz not null,
    job_id uuid not null,
    state text not null check (state in ('cancelled', 'discarded')),
    reason text not null,
    primary key (worker, at, job_id)
);

create index hook_outbox_at on {schema}.hook_outbox (at);

-- Unique jobs: a job holds its unique_key while unique_held, which no other may then. It gives it up for good when it
-- takes a state that is not in unique_states: a trigger does that, so that no statement has to know. Where the key is of
-- a period, the row is kept until unique_until at least.

alter table {schema}.jobs
    add column unique_key text collate "C",
    add column unique_states text,
    add column unique_until timestamptz,
    add column unique_held boolean;  -- null where there is no key

create unique index jobs_unique on {schema}.jobs (unique_key) where unique_held;

drop index {schema}.jobs_finished;
create index jobs_finished on {schema}.jobs (finished_at, id)
    where state in ('completed', 'cancelled', 'discarded') and unique_until is null;
create index jobs_kept on {schema}.jobs (unique_until, id) where unique_until is not null;

create function {schema}.give_up_key() returns trigger language plpgsql as $$
begin
    new.unique_held := strpos(new.unique_states, new.state) > 0;
    return new;
end
$$;

create trigger jobs_unique before update on {schema}.jobs for each row
    when (new.unique_held)  -- and no more: the server reads it anew for each statement
    execute function {schema}.give_up_key();

-- Deadlines: a job that waits past its deadline_at is cancelled by a sweep; deadline_force ends one that runs, too.

alter table {schema}.jobs
    add column deadline_at timestamptz,
    add column deadline_force boolean not null default false;

create index jobs_deadline on {schema}.jobs (deadline_at, id)
    where deadline_at is not null and state in ('suspended', 'scheduled', 'available', 'retryable');

-- Limits: a queue's, over all nodes; whoever claims from such a queue holds its row. A bucket of tokens is kept as the
-- instant at which it will be full again.

alter table {schema}.jobs add column limit_key text collate "C";

create index jobs_partition on {schema}.jobs (queue, limit_key, priority, scheduled_at, id)
    where limit_key is not null and state = 'available' and suspicions = 0;
create index jobs_partition_running on {schema}.jobs (queue, limit_key)
    where limit_key is not null and state = 'executing';

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
    primary key (limit_key, queue)
) with (fillfactor = 50);

create index rates_next on {schema}.rates (queue, full_at);

-- Recorded: what a job of a recorded worker returned, packed; null where nothing is.
alter table {schema}.jobs add column recorded text;

-- Chains: jobs of one key run one after the other, in the order of chain_seq. A link whose turn has not come is
-- suspended and waits for one thing, its turn; the chain's holder alone may run. chain_holds names the endings
-- (cancelled, discarded) after which a link keeps its chain.

alter table {schema}.jobs
    add column chain_key text collate "C",
    add column chain_seq bigint,
    add column chain_holds text;

create index jobs_links on {schema}.jobs (chain_key, chain_seq)
    where chain_key is not null and (state = 'suspended' or strpos(chain_holds, state) > 0);

create table {schema}.chains (
    key text collate "C" primary key,
    next_seq bigint not null,
    held_by uuid,
    freed_at timestamptz  -- null while it is held
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

create index chains_free on {schema}.chains (freed_at, key) where freed_at is not null;
