-- enqueue_workflow: store a workflow's own row; no answer when its id is taken already, or its name by one that is unique.
-- in:    id uuid, name text, steps int, on_finished text, context text, is_unique boolean, is_logged boolean,
--        now timestamptz
-- out:   id uuid
-- lock:  the write lock is held
-- plan:  -
insert into workflows (
    id, name, state, steps, unfinished, on_finished, context, is_unique, is_logged,
    inserted_at)
values (
    :id, :name, 'running', :steps, :steps, :on_finished, :context, :is_unique, :is_logged,
    coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer)))
on conflict do nothing
returning id
