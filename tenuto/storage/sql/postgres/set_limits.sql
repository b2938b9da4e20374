-- set_limits: keep what a program or an operator said of a queue's limits; a null leaves what was said before, and
--             :forget takes the operator's word back.
-- in:    queue text, configured text, asked text, forget boolean, now timestamptz
-- out:   queue text
-- lock:  the limits
-- plan:  -
insert into {schema}.limits as l (queue, configured, asked, changed_at)
values (
    %(queue)s, coalesce(%(configured)s::text, '{}'), %(asked)s::text,
    coalesce(%(now)s::timestamptz, clock_timestamp()))
on conflict (queue) do update
set configured = coalesce(%(configured)s::text, l.configured),
    asked = case when %(forget)s::boolean then null else coalesce(%(asked)s::text, l.asked) end,
    changed_at = excluded.changed_at
where l.configured <> coalesce(%(configured)s::text, l.configured)
    or l.asked is distinct from case when %(forget)s::boolean then null else coalesce(%(asked)s::text, l.asked) end
returning queue
