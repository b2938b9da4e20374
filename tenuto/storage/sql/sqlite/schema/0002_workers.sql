-- 0002_workers: what workers may ask for beyond being run.

-- deadlines
alter table jobs add column deadline_at integer;
alter table jobs add column deadline_force integer not null default 0;

create index jobs_deadline on jobs (deadline_at, id)
    where deadline_at is not null and state in ('suspended', 'scheduled', 'available', 'retryable');
