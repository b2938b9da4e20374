-- 0002_workers: what workers ask for beyond being run.

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
