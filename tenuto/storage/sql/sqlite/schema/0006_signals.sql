-- 0006_signals: what jobs are told from outside, and what they wait for.

-- A signal belongs to its owner, a workflow or a job that is no step, and is kept as long as that. A wait is one job's for
-- one name: of its first call until when (null: for ever), and whether its time was over for good. The job waits now
-- where it is scheduled and of the same epoch.

create table signals (
    owner_id text not null,
    name text not null,
    value text not null,
    sent_at integer not null,
    primary key (owner_id, name)
) strict;

create table signal_waits (
    job_id text not null,
    name text not null,
    owner_id text not null,
    epoch integer not null,
    deadline_at integer,
    timed_out integer not null default 0,
    primary key (job_id, name)
) strict;

create index signal_waits_owner on signal_waits (owner_id, name);
