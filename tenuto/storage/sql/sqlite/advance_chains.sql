-- advance_chains: give those chains whose holder holds them no longer to the next link of theirs, or to nobody. A holder
--                 that has ended holds on if it was asked to; so does one in line, when its turn comes.
-- in:    keys text[], now timestamptz
-- out:   key text, held_by uuid
-- lock:  the write lock is held
-- plan:  jobs_links
with free as materialized (
    select c.key, (
        select j.id
        from jobs j
        where j.chain_key = c.key and (j.state = 'suspended' or instr(j.chain_holds, j.state) > 0)
        order by j.chain_seq
        limit 1) as next
    from json_each(:keys) k
    join chains c on c.key = k.value
    where not coalesce((
        select j.state in ('scheduled', 'available', 'executing', 'retryable') or instr(j.chain_holds, j.state) > 0
        from jobs j
        where j.id = c.held_by), false)
)
update chains
set held_by = free.next,
    freed_at = case
        when free.next is null then coalesce(:now, cast((julianday('now') - 2440587.5) * 86400000000.0 as integer))
    end
from free
where chains.key = free.key
returning key, held_by
