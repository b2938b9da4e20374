-- doctor_keys: jobs that still hold their keys in a state in which they should have given them up.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select id, 'is ' || state || ', and unique when ' || unique_states as detail
from jobs
where unique_held and instr(unique_states, state) = 0
limit 100
