-- 0001_jobs: jobs and queues, workflows with their nodes and edges, and the leases of nodes.
-- Instants are integers, microseconds since 1970 in UTC.

create table jobs (
    id text not null primary key,
    state text not null check (state in (
        'suspended', 'scheduled', 'available', 'executing', 'retryable', 'completed', 'cancelled', 'discarded')),
    queue text not null,
    worker text not null,
    args text not null,
    meta text not null,
    tags text not null,
    errors text not null default '[]',
    attempt integer not null default 0,
    max_attempts integer not null check (max_attempts > 0),
    priority integer not null check (priority between 0 and 9),
    epoch integer not null default 0,
    producer_id text,
    attempted_by text,
    waiting_on integer not null default 0 check (waiting_on >= 0),
    has_needs integer not null default 0,
    has_dependents integer not null default 0,
    workflow_id text,
    timeout integer,
    snoozes integer not null default 0,
    rescues integer not null default 0,
    suspicions integer not null default 0,
    inserted_at integer not null,
    scheduled_at integer not null,
    attempted_at integer,
    finished_at integer,
    cancel_requested_at integer
) strict;

create index jobs_claim on jobs (queue, priority, scheduled_at, id)
    where state = 'available' and suspicions = 0;
create index jobs_suspects on jobs (queue, priority, scheduled_at, id)
    where state = 'available' and suspicions > 0;
create index jobs_stage on jobs (scheduled_at, id) where state in ('scheduled', 'retryable');
create index jobs_executing on jobs (producer_id) where state = 'executing' and producer_id is not null;
create index jobs_finished on jobs (finished_at, id)
    where state in ('completed', 'cancelled', 'discarded');
create index jobs_workflow on jobs (workflow_id) where workflow_id is not null;

create table workflows (
    id text not null primary key,
    name text,
    state text not null check (state in ('running', 'finished')),
    outcome text check (outcome in ('completed', 'failed')),
    runs integer not null default 1,
    steps integer not null,
    unfinished integer not null check (unfinished >= 0),
    completed integer not null default 0,
    cancelled integer not null default 0,
    discarded integer not null default 0,
    deleted integer not null default 0,
    inserted_at integer not null,
    finished_at integer
) strict;

create index workflows_finished on workflows (finished_at, id) where state = 'finished';

create table workflow_nodes (
    workflow_id text not null,
    name text not null,
    job_id text not null,
    position integer not null,
    worker text not null,
    deps text not null,
    ignore_cancelled integer not null,
    ignore_discarded integer not null,
    ignore_deleted integer not null,
    fate text check (fate in ('completed', 'cancelled', 'discarded', 'deleted')),
    result text,
    result_at integer,
    primary key (workflow_id, name)
) strict;

create unique index workflow_nodes_job on workflow_nodes (job_id);

create table edges (
    job_id text not null,
    needs_id text not null,
    ignore_cancelled integer not null,
    ignore_discarded integer not null,
    ignore_deleted integer not null,
    met integer not null default 0,
    primary key (job_id, needs_id)
) strict;

create index edges_needs on edges (needs_id);

create table producers (
    id text not null primary key,
    node text not null,
    queue text not null,
    version integer not null,
    workers text not null,
    health text not null default '{}',
    boot text,
    pid integer,
    pid_started text,
    started_at integer not null,
    expires_at integer not null
) strict;

create table queues (
    name text not null,
    node text not null,  -- the node it is meant for; empty for all
    paused integer,
    running integer,
    slots integer check (slots >= 0),
    primary key (name, node)
) strict;

create table leases (
    name text not null primary key,
    node text not null,
    expires_at integer not null
) strict;
