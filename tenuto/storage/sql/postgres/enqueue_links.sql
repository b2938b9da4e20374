-- enqueue_links: give new links their numbers in their chains: of each chain the next free number afterwards, and who
--                holds it, which is the first of them where nobody did. A chain all of whose links are stored already
--                is left as it is, and is not in the answer.
-- in:    links json, patience text
-- out:   key text, next_seq bigint, held_by uuid
-- lock:  chains by key
-- plan:  jobs_pkey
with new as materialized (
    select n.*
    from jsonb_to_recordset(%(links)s::jsonb) as n (id uuid, key text, nth int, links int)
    where not exists (select 1 from {schema}.jobs j where j.id = n.id offset 0)  -- one by one, by the index
        and (select set_config('lock_timeout', %(patience)s, true)) is not null  -- for the whole transaction
),
heads as materialized (
    select distinct on (key) key, id, links
    from new
    order by key, nth
)
insert into {schema}.chains as c (key, next_seq, held_by)
select key, links + 1, id
from heads
order by key collate "C"
on conflict (key) do update
set next_seq = c.next_seq + excluded.next_seq - 1,
    held_by = coalesce(c.held_by, excluded.held_by),
    freed_at = null
returning key, next_seq, held_by
