-- open_chains: hold chains still, as lock_chains does, and make those anew that were pruned; new links are numbered
--              behind the given ones.
-- in:    links json, now timestamptz
-- out:   key text
-- lock:  the write lock is held
-- plan:  -
with links as materialized (
    select json_extract(value, '$.key') as key, json_extract(value, '$.seq') as seq from json_each(:links)
)
insert into chains (key, next_seq, freed_at)
select key, max(seq) + 1, coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
from links
where true
group by key
on conflict (key) do update
set next_seq = max(next_seq, excluded.next_seq)
returning key
