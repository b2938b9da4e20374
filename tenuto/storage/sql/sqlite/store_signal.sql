-- store_signal: keep the first signal of a name. No answer for a later one.
-- in:    owner_id uuid, name text, value text, now timestamptz
-- out:   name text
-- lock:  the write lock is held
-- plan:  -
insert into signals (owner_id, name, value, sent_at)
values (:owner_id, :name, :value, coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)))
on conflict (owner_id, name) do nothing
returning name
