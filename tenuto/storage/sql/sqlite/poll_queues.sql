-- poll_queues: what a node must know of its queues, and of those it was told to start: their settings (its own
--              before those for all nodes), the limits of the whole queue, and whether anything is due in them.
-- in:    node text, queues text[]
-- out:   name text, paused boolean, running boolean, slots int, due boolean, suspect boolean, limits text
-- lock:  none
-- plan:  jobs_claim
with named as (
    select value as name from json_each(:queues)
    union
    select name from queues where running and node in ('', :node)
)
select
    n.name, coalesce(own.paused, every.paused, 0) as paused, coalesce(own.running, every.running) as running,
    coalesce(own.slots, every.slots) as slots,
    exists (
        select 1 from jobs
        where queue = n.name and state = 'available' and suspicions = 0) as due,
    exists (
        select 1 from jobs
        where queue = n.name and state = 'available' and suspicions > 0) as suspect,
    coalesce(l.asked, l.configured) as limits
from named n
left join limits l on l.queue = n.name
left join queues every on every.name = n.name and every.node = ''
left join queues own on own.name = n.name and own.node = :node
