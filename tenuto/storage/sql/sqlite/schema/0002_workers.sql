-- 0002_workers: what workers of more than one kind need.

-- cron entries, as the node that registered each last declared it

create table crons (
    name text not null primary key,
    expression text not null,
    timezone text not null,
    worker text not null,
    catch_up integer not null,
    paused integer not null default 0,
    asked integer not null default 0,
    done_until integer not null,  -- no minute up to here is fired any more
    fired_minute integer,
    job_id text,
    registered_at integer not null,
    known_until integer not null
) strict;
