-- enqueue_workflow: store a workflow's own row; no answer when its id is taken already, or its name by one that is unique.
-- in:    id uuid, name text, steps int, on_finished text, context text, is_unique boolean, is_logged boolean,
--        now timestamptz
-- out:   id uuid
-- lock:  the new row; that of another unique one of its name is waited for
-- plan:  -
insert into {schema}.workflows (
    id, name, state, steps, unfinished, on_finished, context, is_unique, is_logged,
    inserted_at)
values (
    %(id)s, %(name)s, 'running', %(steps)s, %(steps)s, %(on_finished)s, %(context)s, %(is_unique)s,
    %(is_logged)s,
    coalesce(%(now)s::timestamptz, clock_timestamp()))
on conflict do nothing
returning id
