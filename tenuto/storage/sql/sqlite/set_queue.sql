-- set_queue: keep what an operator asked of a queue, for one node or for all; a null leaves a setting as it is.
-- in:    name text, node text, paused boolean, running boolean, scaled boolean, slots int
-- out:   name text
-- lock:  the write lock is held
-- plan:  -
insert into queues (name, node, paused, running, slots)
values (:name, :node, :paused, :running, :slots)
on conflict (name, node) do update
set paused = coalesce(:paused, paused),
    running = coalesce(:running, running),
    slots = case when :scaled then :slots else slots end
returning name
