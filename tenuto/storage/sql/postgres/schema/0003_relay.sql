-- 0003_relay: jobs that somebody awaits keep what they came to.

-- An awaited job's ack writes its answer: what it first came to, and in last_answer what it came to after that. What
-- is null there follows from the job's state and errors.

alter table {schema}.jobs add column awaited boolean not null default false;
alter table {schema}.jobs add column answer text;
alter table {schema}.jobs add column last_answer text;
