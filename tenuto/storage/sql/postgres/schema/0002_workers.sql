-- 0002_workers: what workers may ask for beyond being run.

-- deadlines
alter table {schema}.jobs
    add column deadline_at timestamptz,
    add column deadline_force boolean not null default false;

create index jobs_deadline on {schema}.jobs (deadline_at, id)
    where deadline_at is not null and state in ('suspended', 'scheduled', 'available', 'retryable');
