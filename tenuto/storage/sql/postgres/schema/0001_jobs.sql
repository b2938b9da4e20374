-- 0001_jobs: jobs and queues, workflows with their nodes and edges, and the leases of nodes.
-- The hot tables keep room on each page and are vacuumed early, since every job is written three times.

create table {schema}.jobs (
    id uuid primary key,
    state text not null check (state in (
        'suspended', 'scheduled', 'available', 'executing', 'retryable', 'completed', 'cancelled', 'discarded')),
    queue text not null,
    worker text not null,
    args text not null,
    meta text not null,
    tags text not null,
    errors text not null default '[]',
    attempt int not null default 0,
    max_attempts int not null check (max_attempts > 0),
    priority smallint not null check (priority between 0 and 9),
    epoch int not null default 0,
    producer_id uuid,
    attempted_by text,
    waiting_on int not null default 0 check (waiting_on >= 0),
    has_needs boolean not null default false,
    has_dependents boolean not null default false,
    workflow_id uuid,
    timeout bigint,
    snoozes int not null default 0,
    rescues int not null default 0,
    suspicions int not null default 0,
    inserted_at timestamptz not null,
    scheduled_at timestamptz not null,
    attempted_at timestamptz,
    finished_at timestamptz,
    cancel_requested_at timestamptz
) with (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

create index jobs_claim on {schema}.jobs (queue, priority, scheduled_at, id)
    where state = 'available' and suspicions = 0;
create index jobs_suspects on {schema}.jobs (queue, priority, scheduled_at, id)
    where state = 'available' and suspicions > 0;
create index jobs_stage on {schema}.jobs (scheduled_at, id) where state in ('scheduled', 'retryable');
create index jobs_executing on {schema}.jobs (producer_id) where state = 'executing' and producer_id is not null;
create index jobs_finished on {schema}.jobs (finished_at, id)
    where state in ('completed', 'cancelled', 'discarded');
create index jobs_workflow on {schema}.jobs (workflow_id) where workflow_id is not null;

create table {schema}.workflows (
    id uuid primary key,
    name text,
    state text not null check (state in ('running', 'finished')),
    outcome text check (outcome in ('completed', 'failed')),
    runs int not null default 1,
    steps int not null,
    unfinished int not null check (unfinished >= 0),
    completed int not null default 0,
    cancelled int not null default 0,
    discarded int not null default 0,
    deleted int not null default 0,
    inserted_at timestamptz not null,
    finished_at timestamptz
) with (fillfactor = 60);

create index workflows_finished on {schema}.workflows (finished_at, id) where state = 'finished';

create table {schema}.workflow_nodes (
    workflow_id uuid not null,
    name text not null,
    job_id uuid not null,
    position int not null,
    worker text not null,
    deps text not null,
    ignore_cancelled boolean not null,
    ignore_discarded boolean not null,
    ignore_deleted boolean not null,
    fate text check (fate in ('completed', 'cancelled', 'discarded', 'deleted')),
    result text,
    result_at timestamptz,
    primary key (workflow_id, name)
) with (fillfactor = 80);

create unique index workflow_nodes_job on {schema}.workflow_nodes (job_id);

create table {schema}.edges (
    job_id uuid not null,
    needs_id uuid not null,
    ignore_cancelled boolean not null,
    ignore_discarded boolean not null,
    ignore_deleted boolean not null,
    met boolean not null default false,
    primary key (job_id, needs_id)
);

create index edges_needs on {schema}.edges (needs_id);

create table {schema}.producers (
    id uuid primary key,
    node text not null,
    queue text not null,
    version int not null,
    workers text not null,
    health text not null default '{}',
    boot text,
    pid int,
    pid_started text,
    started_at timestamptz not null,
    expires_at timestamptz not null
) with (fillfactor = 50);

create table {schema}.queues (
    name text not null,
    node text not null,  -- the node it is meant for; empty for all
    paused boolean,
    running boolean,
    slots int check (slots >= 0),
    primary key (name, node)
);

create table {schema}.leases (
    name text primary key,
    node text not null,
    expires_at timestamptz not null
);
