-- enqueue_workflow: store a workflow's own row; no answer when its id is taken already.
-- in:    id uuid, name text, steps int, now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  -
insert into workflows (id, name, state, steps, unfinished, inserted_at)
values (:id, :name, 'running', :steps, :steps,
    coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)))
on conflict (id) do nothing
returning id
