"""An audit of a database by triggers of our own: every change of a job's state, of a fate, every workflow's end."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

import psycopg

from tenuto.job import TERMINAL
from tests.storage.tables import Row, look_into

AUDIT = {
    "sqlite": """
        create table audit (seq integer primary key, what text, id text, was text, became text, epoch int);
        create trigger audit_jobs after update of state on jobs begin
            insert into audit (what, id, was, became, epoch)
            values ('job', new.id, old.state, new.state, new.epoch);
        end;
        create trigger audit_fates after update of fate on workflow_nodes begin
            insert into audit (what, id, was, became) values ('fate', new.job_id, old.fate, new.fate);
        end;
        create trigger audit_workflows after update of state on workflows when new.state = 'finished' begin
            insert into audit (what, id, was, became) values ('workflow', new.id, old.state, new.state);
        end;
    """,
    "postgres": """
        create table audit (seq bigserial, what text, id uuid, was text, became text, epoch int);
        create function audit_jobs() returns trigger language plpgsql as $$ begin
            insert into tenuto.audit (what, id, was, became, epoch)
            values ('job', new.id, old.state, new.state, new.epoch);
            return null;
        end $$;
        create function audit_fates() returns trigger language plpgsql as $$ begin
            insert into tenuto.audit (what, id, was, became) values ('fate', new.job_id, old.fate, new.fate);
            return null;
        end $$;
        create function audit_workflows() returns trigger language plpgsql as $$ begin
            insert into tenuto.audit (what, id, was, became) values ('workflow', new.id, old.state, new.state);
            return null;
        end $$;
        create trigger audit_jobs after update of state on jobs for each row execute function audit_jobs();
        create trigger audit_fates after update of fate on workflow_nodes
            for each row execute function audit_fates();
        create trigger audit_workflows after update of state on workflows
            for each row when (new.state = 'finished') execute function audit_workflows();
    """,
}
"""Triggers of the soak's own: every change of a job's state, of a step's fate, and every end of a workflow."""


def watch(url: str) -> None:
    """Write down from now on what happens in the tables."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as file:
            file.executescript(AUDIT["sqlite"])
    else:
        with psycopg.connect(url, autocommit=True, options="-c search_path=tenuto") as connection:
            connection.execute(AUDIT["postgres"])


def history(url: str) -> list[Row]:
    """Everything that was written down, in order."""
    with look_into(url) as tables:
        return tables.rows("select what, id, was, became, epoch from audit order by seq")


def settlings(seen: list[Row]) -> Counter[str]:
    """How often each job left for a terminal state, each step got a fate, and each workflow finished."""
    counted: Counter[str] = Counter()
    for row in seen:
        if row["what"] != "job":
            counted[f"{row['what']} of {row['id']}"] += 1
        elif row["became"] in TERMINAL:
            counted[row["id"]] += 1
    return counted


def settled_twice(url: str) -> dict[str, int]:
    """What settled more than once."""
    return {what: times for what, times in settlings(history(url)).items() if times > 1}
