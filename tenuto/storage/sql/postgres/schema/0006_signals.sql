-- 0006_signals: what jobs are told from outside, and what they wait for.

-- A signal belongs to its owner, a workflow or a job that is no step, and is kept as long as that. A wait is one job's for
-- one name: of its first call until when (null: for ever), and whether its time was over for good. The job waits now
-- where it is scheduled and of the same epoch.

create table {schema}.signals (
    owner_id uuid not null,
    name text collate "C" not null,
    value text not null,
    sent_at timestamptz not null,
    primary key (owner_id, name)
);

create table {schema}.signal_waits (
    job_id uuid not null,
    name text collate "C" not null,
    owner_id uuid not null,
    epoch int not null,
    deadline_at timestamptz,
    timed_out boolean not null default false,
    primary key (job_id, name)
) with (fillfactor = 80);

create index signal_waits_owner on {schema}.signal_waits (owner_id, name);
