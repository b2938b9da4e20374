-- 0002_workers: what workers of more than one kind need.

-- cron entries, as the node that registered each last declared it

create table {schema}.crons (
    name text primary key,
    expression text not null,
    timezone text not null,
    worker text not null,
    catch_up bigint not null,
    paused boolean not null default false,
    asked boolean not null default false,
    done_until timestamptz not null,  -- no minute up to here is fired any more
    fired_minute timestamptz,
    job_id uuid,
    registered_at timestamptz not null,
    known_until timestamptz not null
) with (fillfactor = 50);
