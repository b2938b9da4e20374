-- doctor_limits: queues in which more jobs run than their limit allows, of those that began after it was set, with a
--                minute's patience for the nodes to hear of it.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select l.queue as id, count(*) || ' run, and ' || json_extract(coalesce(l.asked, l.configured), '$.limit') || ' may' as detail
from limits l
join jobs j on j.queue = l.queue
where j.state = 'executing'
    and j.attempted_at > l.changed_at + 60000000
group by l.queue
having count(*) > json_extract(coalesce(l.asked, l.configured), '$.limit')
order by l.queue
limit 100
