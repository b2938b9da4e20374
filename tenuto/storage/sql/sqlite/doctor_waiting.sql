-- doctor_waiting: suspended steps whose count of unmet needs is wrong, or that wait for nothing.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select j.id, 'waits for ' || j.waiting_on || ' needs; ' || count(e.job_id) || ' are unmet' as detail
from jobs j
left join edges e on e.job_id = j.id and not e.met
where j.state = 'suspended'
group by j.id
having j.waiting_on <> count(e.job_id) or j.waiting_on = 0
limit 100
