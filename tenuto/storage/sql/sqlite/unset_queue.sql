-- unset_queue: forget what single nodes were told of a queue, where all of them are told now.
-- in:    name text, paused boolean, running boolean, scaled boolean
-- out:   -
-- lock:  the write lock is held
-- plan:  -
update queues
set paused = case when :paused is null then paused end,
    running = case when :running is null then running end,
    slots = case when :scaled then null else slots end
where name = :name and node <> ''
