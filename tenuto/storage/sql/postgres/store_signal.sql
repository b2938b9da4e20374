-- store_signal: keep the first signal of a name. No answer for a later one.
-- in:    owner_id uuid, name text, value text, now timestamptz
-- out:   name text
-- lock:  the owner is locked already
-- plan:  -
insert into {schema}.signals (owner_id, name, value, sent_at)
values (%(owner_id)s, %(name)s, %(value)s, coalesce(%(now)s::timestamptz, clock_timestamp()))
on conflict (owner_id, name) do nothing
returning name
