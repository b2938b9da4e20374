-- lock_limits: hold the limits of a queue until this transaction ends, so that claims from it take turns; and what they
--              are. A session that goes to sleep with them in hand is ended by the server.
-- in:    queue text, patience text, now timestamptz
-- out:   limits text, debt bigint, turn text, is_overdue boolean
-- lock:  the limits
-- plan:  limits_pkey
with t as materialized (select coalesce(%(now)s::timestamptz, clock_timestamp()) as now)
select coalesce(l.asked, l.configured) as limits,
    greatest(0, (extract(epoch from l.full_at - t.now) * 1000000)::bigint) as debt,
    l.turn,
    l.looked_at not between t.now - interval '1 second' and t.now + interval '10 seconds' as is_overdue
from {schema}.limits l, t
where l.queue = %(queue)s
    and (select set_config('lock_timeout', %(patience)s, true)) is not null
    and (select set_config('idle_in_transaction_session_timeout', '5s', true)) is not null
for update of l
