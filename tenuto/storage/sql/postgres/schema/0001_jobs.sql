-- 0001_jobs: jobs and queues, workflows with their nodes and edges, and the leases of nodes.
-- The hot tables keep room on each page and are vacuumed early, since every job is written three times.

-- What a value may be is said by its type, which looks at what is written; a table's check looks at each row again with
-- every update, and is read anew for each statement: a tenth of what a claim and an ack of ten jobs cost.

create domain {schema}.job_state as text check (value in (
    'suspended', 'scheduled', 'available', 'executing', 'retryable', 'completed', 'cancelled', 'discarded'));
create domain {schema}.more_than_none as int check (value > 0);
create domain {schema}.none_or_more as int check (value >= 0);
create domain {schema}.digit as smallint check (value between 0 and 9);

-- Columns of fixed length stand first, then those that indices ask for: an update compares these one by one, and the
-- way to each leads over all that are of no fixed length before it.

create table {schema}.jobs (
    id uuid primary key,
    inserted_at timestamptz not null,
    scheduled_at timestamptz not null,
    attempt int not null default 0,
    max_attempts {schema}.more_than_none not null,
    epoch int not null default 0,
    snoozes int not null default 0,
    rescues int not null default 0,
    suspicions int not null default 0,
    waiting_on {schema}.none_or_more not null default 0,
    priority {schema}.digit not null,
    has_needs boolean not null default false,
    has_dependents boolean not null default false,
    state {schema}.job_state not null,
    queue text not null,
    producer_id uuid,
    workflow_id uuid,
    finished_at timestamptz,
    worker text not null,
    args text not null,
    meta text not null,
    tags text not null,
    errors text not null default '[]',
    timeout bigint,
    attempted_by text,
    attempted_at timestamptz,
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
) with (fillfactor = 50);

create unique index workflow_nodes_job on {schema}.workflow_nodes (job_id);

create table {schema}.edges (
    job_id uuid not null,
    needs_id uuid not null,
    ignore_cancelled boolean not null,
    ignore_discarded boolean not null,
    ignore_deleted boolean not null,
    met boolean not null default false,
    primary key (job_id, needs_id)
) with (fillfactor = 50);

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
