-- enqueue_workflow: store a workflow's own row; no answer when its id is taken already.
-- in:    id uuid, name text, steps int, now timestamptz
-- out:   id uuid
-- lock:  the new row
-- plan:  -
insert into {schema}.workflows (id, name, state, steps, unfinished, inserted_at)
values (%(id)s, %(name)s, 'running', %(steps)s, %(steps)s, coalesce(%(now)s::timestamptz, clock_timestamp()))
on conflict (id) do nothing
returning id
