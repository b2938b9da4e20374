-- 0005_steering: what a workflow says of itself as a whole.

-- on_finished is the job that its end enqueues, as enqueue.sql takes it, and context what all of its steps may read. Of
-- the workflows of one name that are unique, one is unfinished at most.

alter table {schema}.workflows
    add column on_finished text,
    add column context text,
    add column is_unique boolean not null default false;

create unique index workflows_unique on {schema}.workflows (name) where is_unique and state = 'running';
