-- 0007_usage: what attempts used of models, and what they asked of them and were answered.

-- Both outlive the job and the step they are of: what is needed of these is written beside. The steps of a workflow that
-- is_logged are, those that are added later, too.

alter table {schema}.workflows add column is_logged boolean not null default false;

create table {schema}.usage (
    id uuid not null primary key,
    job_id uuid not null,
    workflow_id uuid,
    workflow_name text,
    step text,
    worker text not null,
    attempt int not null,
    model text not null,
    input_tokens bigint not null check (input_tokens >= 0),
    output_tokens bigint not null check (output_tokens >= 0),
    cached_tokens bigint not null check (cached_tokens >= 0),
    latency bigint check (latency >= 0),
    at timestamptz not null
);

create index usage_workflow on {schema}.usage (workflow_id) where workflow_id is not null;
create index usage_at on {schema}.usage (at);

create table {schema}.debug_log (
    id uuid not null primary key,
    workflow_id uuid not null,
    step text,
    job_id uuid not null,
    worker text not null,
    attempt int not null,
    kind text not null check (kind in ('upstream', 'request', 'response')),
    content text,
    size int not null,
    note text,
    at timestamptz not null
);

create index debug_log_workflow on {schema}.debug_log (workflow_id, id);
create index debug_log_at on {schema}.debug_log (at);
