-- 0000_schema: where the version of the tables is kept.

create table if not exists schema (
    version integer primary key,
    migrated_at integer not null default (cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
) strict;
