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
