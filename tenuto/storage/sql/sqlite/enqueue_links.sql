-- enqueue_links: give new links their numbers in their chains: of each chain the next free number afterwards, and who
--                holds it, which is the first of them where nobody did. A chain all of whose links are stored already
--                is left as it is, and is not in the answer.
-- in:    links json, patience text
-- out:   key text, next_seq bigint, held_by uuid
-- lock:  the write lock is held
-- plan:  sqlite_autoindex_jobs_1
with new as materialized (
    select
        json_extract(value, '$.id') as id, json_extract(value, '$.key') as key, json_extract(value, '$.nth') as nth,
        json_extract(value, '$.links') as links
    from json_each(:links)
    where not exists (select 1 from jobs j where j.id = json_extract(value, '$.id')) and :patience is not null
),
heads as materialized (
    select key, id, links, min(nth)
    from new
    group by key
)
insert into chains (key, next_seq, held_by)
select key, links + 1, id
from heads
where true
on conflict (key) do update
set next_seq = next_seq + excluded.next_seq - 1,
    held_by = coalesce(held_by, excluded.held_by),
    freed_at = null
returning key, next_seq, held_by
