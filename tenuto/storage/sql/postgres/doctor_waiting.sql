-- doctor_waiting: suspended jobs that wait for something else than their unmet needs, or their turn in a chain; or for
--                 nothing.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select j.id::text, 'waits for ' || j.waiting_on || ' needs; ' || count(e.job_id) || ' are unmet' as detail
from {schema}.jobs j
left join {schema}.edges e on e.job_id = j.id and not e.met
where j.state = 'suspended'
group by j.id
having j.waiting_on <> count(e.job_id) + case when j.chain_key is null then 0 else 1 end or j.waiting_on = 0
limit 100
