-- 0007_usage: what attempts used of models, and what they asked of them and were answered.

-- Both outlive the job and the step they are of: what is needed of these is written beside. The steps of a workflow that
-- is_logged are, those that are added later, too.

alter table workflows add column is_logged integer not null default 0;

create table usage (
    id text not null primary key,
    job_id text not null,
    workflow_id text,
    workflow_name text,
    step text,
    worker text not null,
    attempt integer not null,
    model text not null,
    input_tokens integer not null check (input_tokens >= 0),
    output_tokens integer not null check (output_tokens >= 0),
    cached_tokens integer not null check (cached_tokens >= 0),
    latency integer check (latency >= 0),
    at integer not null
) strict;

create index usage_workflow on usage (workflow_id) where workflow_id is not null;
create index usage_at on usage (at);

create table debug_log (
    id text not null primary key,
    workflow_id text not null,
    step text,
    job_id text not null,
    worker text not null,
    attempt integer not null,
    kind text not null check (kind in ('upstream', 'request', 'response')),
    content text,
    size integer not null,
    note text,
    at integer not null
) strict;

create index debug_log_workflow on debug_log (workflow_id, id);
create index debug_log_at on debug_log (at);
