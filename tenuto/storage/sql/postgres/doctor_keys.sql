-- doctor_keys: jobs that still hold their keys in a state in which they should have given them up.
-- in:    -
-- out:   id text, detail text
-- lock:  none
-- plan:  -
select id::text, 'is ' || state || ', and unique when ' || unique_states as detail
from {schema}.jobs
where unique_held and strpos(unique_states, state) = 0
limit 100
