-- reopen_groups: let groups that had completed wait again, since a member of theirs is to run once more.
-- in:    ids uuid[]
-- out:   -
-- lock:  the jobs are locked already, by reach
-- plan:  jobs_pkey
update {schema}.jobs
set state = 'suspended', finished_at = null
where id = any(%(ids)s::uuid[]) and state = 'completed'
