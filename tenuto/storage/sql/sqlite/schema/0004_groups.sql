-- 0004_groups: steps that gather others.

-- A group is a step whose job nobody runs: it waits for its members, and completes with the last of them. A node knows
-- the full name of the group it is in; an edge knows whether it is a group that needs, so that who locks what an ending
-- may change goes on through groups, and does not look at jobs for that.

alter table workflow_nodes add column parent text;
alter table edges add column of_group integer not null default 0;

create index workflow_nodes_parent on workflow_nodes (workflow_id, parent) where parent is not null;
