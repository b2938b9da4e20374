-- doctor_workers: the workers that unfinished jobs name, with how many such jobs there are of each.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select worker as id, cast(count(*) as text) as detail
from jobs
where state not in ('completed', 'cancelled', 'discarded') and worker <> 'tenuto.group'
group by worker
order by worker
limit 1000
