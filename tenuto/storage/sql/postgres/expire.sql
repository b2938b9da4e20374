-- expire: end the leases of producers whose process is known to be gone, so that nobody waits for them.
-- in:    producers uuid[]
-- out:   id uuid
-- lock:  the producers
-- plan:  producers_pkey
update {schema}.producers
set expires_at = 'epoch'
where id = any(%(producers)s::uuid[])
returning id
