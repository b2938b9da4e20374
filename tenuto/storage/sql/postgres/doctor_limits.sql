-- doctor_limits: queues in which more jobs run than their limit allows, of those that began after it was set, with a
--                minute's patience for the nodes to hear of it.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select l.queue as id, count(*) || ' run, and ' || (coalesce(l.asked, l.configured)::jsonb ->> 'limit') || ' may' as detail
from {schema}.limits l
join {schema}.jobs j on j.queue = l.queue
where j.state = 'executing'
    and j.attempted_at > l.changed_at + interval '1 minute'
group by l.queue
having count(*) > (coalesce(l.asked, l.configured)::jsonb ->> 'limit')::int
order by l.queue
limit 100
