-- cron_answer: let one node run an entry for which somebody asked.
-- in:    name text, worker text, job_id uuid
-- out:   name text
-- lock:  the entry
-- plan:  crons_pkey
update {schema}.crons
set asked = false,
    job_id = %(job_id)s::uuid
where name = %(name)s and asked and worker = %(worker)s
returning name
