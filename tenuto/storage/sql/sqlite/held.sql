-- held: the jobs that some producers hold, and those held by no producer there is when :strays is asked for.
-- in:    producers uuid[], except_ids uuid[], strays boolean
-- out:   id uuid, suspicions int
-- lock:  the write lock is held
-- plan:  jobs_executing
select j.id, j.suspicions
from jobs j
where j.state = 'executing'
    and j.producer_id in (select value from json_each(:producers))
    and j.id not in (select value from json_each(:except_ids))
union all
select j.id, j.suspicions
from jobs j
where :strays
    and j.state = 'executing'
    and j.producer_id is not null
    and not exists (select 1 from producers p where p.id = j.producer_id)
limit 10000
