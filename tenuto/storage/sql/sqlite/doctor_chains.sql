-- doctor_chains: chains whose holder has ended or is gone, those that nobody holds while links wait, and links that may
--                run although another one holds their chain.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select j.id, 'its chain is held by nobody who could end' as detail
from jobs j
left join chains c on c.key = j.chain_key
left join jobs h on h.id = c.held_by
where j.chain_key is not null
    and (j.state = 'suspended' or instr(j.chain_holds, j.state) > 0)
    and (h.id is null or h.state = 'suspended')
union all
select c.held_by, 'it ended, and holds its chain all the same'
from chains c
left join jobs h on h.id = c.held_by
where c.held_by is not null
    and not coalesce(
        h.state in ('scheduled', 'available', 'executing', 'retryable') or instr(h.chain_holds, h.state) > 0, false)
union all
select j.id, 'it may run, and ' || coalesce(c.held_by, 'nobody') || ' holds its chain'
from jobs j
left join chains c on c.key = j.chain_key
where j.chain_key is not null
    and j.state in ('scheduled', 'available', 'executing', 'retryable')
    and c.held_by is not j.id
limit 100
