"""Ledger: what attempts tell of the models they called, kept however long the database is away."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from uuid_utils import NAMESPACE_OID, uuid5, uuid7

from tenuto.context import Needs
from tenuto.errors import NotStarted, StorageError, StorageUnavailable
from tenuto.features.feature import Feature
from tenuto.job import Job
from tenuto.llm.debugging import SEALED, Debugging, Kind, Logged
from tenuto.llm.usage import Usage, documents_of, ids_in_result, without_usage
from tenuto.opening import encryption_of
from tenuto.outcome import Failed, Outcome, Record
from tenuto.storage import usage
from tenuto.storage.database import Database, Verb

AnyJob = Job[Any, Any]

WITHHELD: Final = "not kept: it stands behind an encrypted step, and its own worker is not encrypted"


class Ledger:
    """The records of one app. What it was given is written also when the attempt that gave it is stopped meanwhile."""

    def __init__(self, database: Database, debugging: Debugging, check_open: Callable[[], None]) -> None:
        self._database = database
        self._debugging = debugging
        self._check_open = check_open  # raises NotStarted
        self._writes: set[asyncio.Task[None]] = set()

    async def record(self, job: AnyJob, usages: Sequence[Usage], ids: Sequence[str]) -> None:
        """Keep what an attempt used, each under its id, once."""
        if usages:
            await self._kept(usage.record, documents_of(job, usages, ids))

    async def taken(self, job: AnyJob, outcome: Record[dict[str, Any]], features: Sequence[Feature]) -> Outcome:
        """The outcome of an attempt without what its result says of usage, which is kept. Never raises."""
        settled, usages = without_usage(outcome, features)
        try:
            await self.record(job, usages, ids_in_result(job, usages))
        except asyncio.CancelledError:  # it is told to stop, and is done already; what is being written is written
            return settled
        except StorageError as error:
            return Failed(error)
        return settled

    async def log(self, job: AnyJob, needs: Needs, kind: Kind, content: Any) -> None:
        """Keep what an attempt asked or was answered, as far as that may be kept."""
        is_closed = bool(needs.sealed) and encryption_of(job.worker) is None
        await self._log(job, str(uuid7()), kind, Logged(None, 0, WITHHELD) if is_closed else self._logged(content))

    async def log_upstream(self, job: AnyJob, needs: Needs) -> None:
        """Keep what an attempt has read of its deps, once; without the results of encrypted ones."""
        if needs.results:
            read = {name: SEALED if name in needs.sealed else _plain(text) for name, text in needs.results.items()}
            id = str(uuid5(NAMESPACE_OID, f"{job.id} {job.epoch} upstream"))
            await self._log(job, id, "upstream", self._logged(read))

    async def close(self, within: float) -> None:
        """Let what is being written be written."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=within)

    def _logged(self, content: Any) -> Logged:
        return self._debugging.logged(content)

    async def _log(self, job: AnyJob, id: str, kind: Kind, logged: Logged) -> None:
        encryption, text = encryption_of(job.worker), logged.text
        if encryption is not None and text is not None:
            text = encryption.given_back(job, field_of(id), text.encode())
        entry = {
            "id": id,
            "workflow_id": job.workflow_id,
            "job_id": job.id,
            "worker": job.worker,
            "attempt": job.attempt,
            "kind": kind,
            "content": text,
            "size": logged.size,
            "note": logged.note,
        }
        await self._kept(usage.log, entry)

    async def _kept(self, verb: Callable[[Any], Verb[None]], given: Any) -> None:
        write = asyncio.create_task(self._written(verb, given))
        self._writes.add(write)
        write.add_done_callback(self._ended)
        await asyncio.shield(write)

    async def _written(self, verb: Callable[[Any], Verb[None]], given: Any) -> None:
        """Write it; its id makes it one record, also when an answer is lost and it is written again."""
        while True:
            try:
                await self._database.run(verb, given)
                return
            except StorageUnavailable:
                with suppress(NotStarted):
                    self._check_open()
                    await asyncio.sleep(random.uniform(0.05, 0.3))  # before the next try
                    continue
                raise

    def _ended(self, write: asyncio.Task[None]) -> None:
        self._writes.discard(write)
        if not write.cancelled():
            write.exception()  # its attempt may have been stopped, and hears no more of it


def field_of(id: str) -> str:
    """Where an entry of an encrypted worker's log belongs, for its seal."""
    return f"debug {id}"


def _plain(text: str | None) -> Any:
    return None if text is None else json.loads(text)
