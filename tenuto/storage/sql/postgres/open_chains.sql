-- open_chains: hold chains still, as lock_chains does, and make those anew that were pruned; new links are numbered
--              behind the given ones.
-- in:    links json, now timestamptz
-- out:   key text
-- lock:  chains by key
-- plan:  -
with links as materialized (select * from jsonb_to_recordset(%(links)s::jsonb) as n (key text, seq bigint))
insert into {schema}.chains as c (key, next_seq, freed_at)
select key, max(seq) + 1, coalesce(%(now)s::timestamptz, clock_timestamp())
from links
group by key
order by key collate "C"
on conflict (key) do update
set next_seq = greatest(c.next_seq, excluded.next_seq)
returning key
