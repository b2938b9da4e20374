-- 0000_schema: where the version of the tables is kept.

create schema if not exists {schema};

create table if not exists {schema}.schema (
    version int primary key,
    migrated_at timestamptz not null default clock_timestamp()
);
