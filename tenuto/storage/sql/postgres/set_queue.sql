-- set_queue: keep what an operator asked of a queue, for one node or for all; a null leaves a setting as it is.
-- in:    name text, node text, paused boolean, running boolean, scaled boolean, slots int
-- out:   name text
-- lock:  the queue
-- plan:  -
insert into {schema}.queues as q (name, node, paused, running, slots)
values (%(name)s, %(node)s, %(paused)s::boolean, %(running)s::boolean, %(slots)s::int)
on conflict (name, node) do update
set paused = coalesce(%(paused)s::boolean, q.paused),
    running = coalesce(%(running)s::boolean, q.running),
    slots = case when %(scaled)s::boolean then %(slots)s::int else q.slots end
returning name
