-- set_limits: keep what a program or an operator said of a queue's limits; a null leaves what was said before, and
--             :forget takes the operator's word back.
-- in:    queue text, configured text, asked text, forget boolean, now timestamptz
-- out:   queue text
-- lock:  the write lock is held
-- plan:  -
insert into limits (queue, configured, asked, changed_at)
values (
    :queue, coalesce(:configured, '{}'), :asked,
    coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)))
on conflict (queue) do update
set configured = coalesce(:configured, configured),
    asked = case when :forget then null else coalesce(:asked, asked) end,
    changed_at = excluded.changed_at
where configured <> coalesce(:configured, configured)
    or asked is not case when :forget then null else coalesce(:asked, asked) end
returning queue
