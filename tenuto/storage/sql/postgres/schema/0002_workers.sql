-- 0002_workers: what the features of workers keep.

-- recorded: what a job of a recorded worker returned, packed; null where nothing is.
alter table {schema}.jobs add column recorded text;
