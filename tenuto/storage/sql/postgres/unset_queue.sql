-- unset_queue: forget what single nodes were told of a queue, where all of them are told now.
-- in:    name text, paused boolean, running boolean, scaled boolean
-- out:   -
-- lock:  the queues
-- plan:  -
update {schema}.queues
set paused = case when %(paused)s::boolean is null then paused end,
    running = case when %(running)s::boolean is null then running end,
    slots = case when %(scaled)s::boolean then null else slots end
where name = %(name)s and node <> ''
