-- doctor_workflows: workflows whose counts differ from the fates of their steps, or that finished too early or not.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select w.id::text as id,
    w.state || ' with ' || w.unfinished || ' unfinished; ' || count(*) filter (where n.fate is null) || ' have no fate'
        as detail
from {schema}.workflows w
left join {schema}.workflow_nodes n on n.workflow_id = w.id
group by w.id
having w.unfinished <> count(n.name) filter (where n.fate is null)
    or w.completed <> count(*) filter (where n.fate = 'completed')
    or w.cancelled <> count(*) filter (where n.fate = 'cancelled')
    or w.discarded <> count(*) filter (where n.fate = 'discarded')
    or w.deleted <> count(*) filter (where n.fate = 'deleted')
    or (w.state = 'finished') <> (w.unfinished = 0)
limit 100
