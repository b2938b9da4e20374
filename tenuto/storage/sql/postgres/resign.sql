-- resign: close producers, once nothing is held in their names.
-- in:    producers uuid[]
-- out:   id uuid
-- lock:  the producers
-- plan:  producers_pkey
delete from {schema}.producers
where id = any(%(producers)s::uuid[])
returning id
