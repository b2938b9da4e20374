-- advance_chains: give those chains whose holder holds them no longer to the next link of theirs, or to nobody. A holder
--                 that has ended holds on if it was asked to; so does one in line, when its turn comes.
-- in:    keys text[], now timestamptz
-- out:   key text, held_by uuid
-- lock:  the chains are locked already, by lock_chains or enqueue_links
-- plan:  jobs_links
with free as materialized (
    select c.ctid, (
        select j.id
        from {schema}.jobs j
        where j.chain_key = c.key and (j.state = 'suspended' or strpos(j.chain_holds, j.state) > 0)
        order by j.chain_seq
        limit 1) as next
    from {schema}.chains c
    where c.key = any(%(keys)s::text[])
        and not coalesce((
            select j.state in ('scheduled', 'available', 'executing', 'retryable') or strpos(j.chain_holds, j.state) > 0
            from {schema}.jobs j
            where j.id = c.held_by), false)
)
update {schema}.chains c
set held_by = free.next,
    freed_at = case when free.next is null then coalesce(%(now)s::timestamptz, clock_timestamp()) end
from free
where c.ctid = free.ctid
returning c.key, c.held_by
