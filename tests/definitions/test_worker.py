"""Workers: functions and classes that make Jobs, and the registry that finds their code by name."""

import asyncio
import importlib
import inspect
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

import pytest

from tenuto.definition import Definition, forget, registered, resolve
from tenuto.errors import DefinitionError, DuplicateWorker, InvalidJob, NoProcess, TooLarge, Unencodable, UnknownWorker
from tenuto.function import job
from tenuto.job import Args, Job, Result
from tenuto.worker import Worker

HERE = __name__
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@job
async def greet(name: str, greeting: str = "Hello") -> str:
    """Greet somebody."""
    return f"{greeting}, {name}"


@job(queue="fast", priority=2, max_attempts=3, tags=["Mail", "mail"], timeout=5, backoff=60, reuse_result=False)
def count(words: list[str]) -> int:
    return len(words)


@dataclass
class WebhookArgs:
    account_id: int


class Webhook(Worker[WebhookArgs, int], queue="webhooks", max_attempts=7):
    async def process(self, job: Job[WebhookArgs, int]) -> int:
        return job.args.account_id


# ── functions ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_decorated_function_is_still_the_function():
    assert await greet("Ada", greeting="Hi") == "Hi, Ada"
    assert count(["a", "b"]) == 2
    assert (greet.__name__, greet.__doc__) == ("greet", "Greet somebody.")  # type: ignore[attr-defined]
    assert list(inspect.signature(greet).parameters) == ["name", "greeting"]


def test_new_makes_a_job_and_calls_nothing():
    made = greet.new("Ada")

    assert (made.worker, made.args) == (f"{HERE}.greet", {"name": "Ada", "greeting": "Hello"})
    assert (made.queue, made.priority, made.max_attempts) == ("default", 0, 20)


def test_each_job_has_an_id_of_its_own():
    assert len({greet.new("Ada").id for _ in range(100)}) == 100


def test_the_options_of_a_worker_are_those_of_its_jobs():
    made = count.new(["a"])

    assert (made.queue, made.priority, made.max_attempts) == ("fast", 2, 3)
    assert (made.tags, made.timeout) == (("mail",), timedelta(seconds=5))
    assert (count.definition.backoff, count.definition.reuse_result) == (timedelta(seconds=60), False)


def test_options_change_what_they_name_and_nothing_else():
    made = count.options(queue="slow", tags=["b"], timeout=None, meta={"trace": "x"}, schedule_in=30).new([])

    assert (made.queue, made.tags, made.timeout) == ("slow", ("b",), None)
    assert (made.meta, made.schedule_in) == ({"trace": "x"}, timedelta(seconds=30))
    assert (made.priority, made.max_attempts) == (2, 3)
    assert count.new([]).queue == "fast"


def test_options_make_as_many_jobs_as_one_likes():
    soon = greet.options(scheduled_at=NOON)

    made = [soon.new("Ada"), soon.new("Bob")]

    assert [one.scheduled_at for one in made] == [NOON, NOON]
    assert made[0].id != made[1].id


def test_a_given_id_makes_the_same_job_again():
    given = uuid4()

    assert greet.options(id=given).new("Ada").id == greet.options(id=str(given).upper()).new("Ada").id == str(given)


def test_a_decorator_with_options_can_be_kept_and_used_again():
    mail = job(queue="mail", priority=3)

    @mail
    def send(to: str) -> None: ...

    @mail(priority=1)
    def alert(to: str) -> None: ...

    assert (send.new("a").queue, send.new("a").priority) == ("mail", 3)
    assert (alert.new("a").queue, alert.new("a").priority) == ("mail", 1)


def test_meta_is_as_it_will_be_read_again():
    given = {"days": {1: "one"}, "ids": [UUID(int=1)]}

    made = greet.options(meta=given).new("Ada")
    given["ids"].append(UUID(int=2))  # type: ignore[attr-defined]

    assert made.meta == {"days": {"1": "one"}, "ids": [UUID(int=1)]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"quue": "x"}, "no option is named 'quue'"),
        ({"backoff": 3}, "no option is named 'backoff'"),
        ({"queue": ""}, "queue"),
        ({"queue": None}, "queue"),
        ({"priority": 10}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"tags": "mail"}, "tags"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": 0}, "a timeout of zero lets no job run"),
        ({"schedule_in": "soon"}, "schedule_in"),
        ({"scheduled_at": datetime(2026, 1, 1)}, "naive"),  # noqa: DTZ001
        ({"scheduled_at": NOON, "schedule_in": 3}, "twice"),
        ({"meta": [1]}, "meta"),
        ({"meta": {"workflow_id": "x"}}, "workflow_id"),
        ({"id": "x"}, "UUID"),
    ],
    ids=str,
)
def test_an_option_of_a_job_that_cannot_be_is_refused(options, told):
    with pytest.raises(InvalidJob, match=told):
        greet.options(**options)


def test_meta_that_cannot_be_stored_is_refused():
    with pytest.raises(TooLarge, match="meta"):
        greet.options(meta={"a": "x" * 1_000_000})
    with pytest.raises(Unencodable, match="meta"):
        greet.options(meta={"a": object()})


@pytest.mark.parametrize(
    "options",
    [
        {"quue": "x"},
        {"queue": ""},
        {"priority": -1},
        {"tags": 7},
        {"timeout": "x"},
        {"backoff": -1},
        {"reuse_result": "no"},
        {"reuse_result": None},
        {"aliases": None},
        {"name": ""},
    ],
    ids=str,
)
def test_an_option_of_a_worker_that_cannot_be_is_refused_at_once(options):
    with pytest.raises(InvalidJob):
        job(**options)(lambda: None)


@pytest.mark.parametrize("option", ["queue", "priority", "tags", "timeout", "schedule_in", "scheduled_at"])
def test_a_refusal_quotes_little_of_what_it_was_given(option):
    with pytest.raises(InvalidJob) as refused:
        greet.options(**{option: [b"x" * 10_000]})  # type: ignore[arg-type]

    assert len(str(refused.value)) < 300


class Odd:
    def method(self, x: int) -> None: ...


def generates():
    yield 1


async def generates_later():
    yield 1


@pytest.mark.parametrize("code", [Odd.method, generates, generates_later, len, Odd, Odd(), greet])
def test_what_is_no_plain_function_is_refused(code: Any):
    with pytest.raises(DefinitionError):
        job(code)


# ── classes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_class_makes_jobs_from_its_args_or_their_fields():
    assert Webhook.new(WebhookArgs(7)).encoded == Webhook.new(account_id="7").encoded == '{"account_id":7}'
    assert (Webhook.new(account_id=7).queue, Webhook.new(account_id=7).max_attempts) == ("webhooks", 7)


def test_a_class_has_options_too():
    made = Webhook.options(queue="slow", priority=9).new(WebhookArgs(7))

    assert (made.worker, made.queue, made.priority) == (f"{HERE}.Webhook", "slow", 9)


def test_a_class_refuses_a_keyword_that_is_no_option():
    with pytest.raises(InvalidJob, match="'quue'"):

        class Typo(Worker[WebhookArgs], quue="x"):  # type: ignore[call-arg]
            def process(self, job: Job[WebhookArgs]) -> None: ...


def test_a_class_hands_its_options_down_but_not_its_name():
    class Base(Worker[Args, Result], queue="base", max_attempts=4):
        pass

    class Child(Base[WebhookArgs, int], max_attempts=2):
        def process(self, job: Job[WebhookArgs, int]) -> int:
            return job.args.account_id

    class Grandchild(Child):
        pass

    assert not hasattr(Base, "definition")
    assert (Child.new(account_id="1").queue, Child.new(account_id="1").max_attempts) == ("base", 2)
    assert Child.new(account_id="1").encoded == '{"account_id":1}'
    assert Grandchild.definition.name.endswith("Grandchild")
    assert Grandchild.new(account_id="1").max_attempts == 2


def test_every_base_hands_its_options_down_and_the_nearest_decides():
    class Patient(Worker, max_attempts=9, priority=4): ...

    class Hasty(Worker, priority=1, name="hasty", aliases=["hurried"]): ...

    class Imports(Worker[WebhookArgs, int], queue="imports"): ...

    class Urgent(Imports, priority=0): ...

    def declared(*bases: Any) -> Any:
        class Both(*bases, tags=["both"]):  # type: ignore[misc, call-arg]
            async def process(self, job: Job[WebhookArgs, int]) -> int:
                return job.args.account_id

        job = Both.new(account_id="1")
        return job.queue, job.max_attempts, job.priority, job.tags, job.args, "hast" in job.worker

    args = {"account_id": 1}
    assert declared(Patient, Hasty, Imports) == ("imports", 9, 4, ("both",), args, False)
    assert declared(Imports, Hasty, Patient) == ("imports", 9, 1, ("both",), args, False)
    assert declared(Hasty, Urgent, Patient) == ("imports", 9, 1, ("both",), args, False)
    assert declared(Urgent, Imports) == ("imports", 20, 0, ("both",), args, False)


def test_a_class_that_only_hands_its_options_down_makes_no_jobs():
    class Base(Worker[Args, Result], queue="base"):
        pass

    for use in (Base.new, Base.options, Worker.new):
        with pytest.raises(NoProcess, match="makes no jobs; a worker has a process"):
            use()


def test_a_process_that_is_no_function_is_refused():
    with pytest.raises(DefinitionError, match=r"the process of .* is no function"):

        class Odd(Worker[None]):
            process = 5  # type: ignore[assignment]


def test_a_process_that_takes_no_job_is_refused():
    with pytest.raises(DefinitionError, match=r"the process of .*Deaf is called with a job, and cannot take that"):

        class Deaf(Worker[None]):
            def process(self) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


def test_a_class_that_no_attempt_can_make_is_refused():
    with pytest.raises(DefinitionError, match=r"Needy of its own, and its __init__ asks for more than itself"):

        class Needy(Worker[None]):
            def __init__(self, database: str) -> None: ...

            def process(self, job: Job[None]) -> None: ...


def test_an_abstract_process_makes_no_jobs():
    class Abstract(Worker[WebhookArgs], ABC, queue="base"):
        @abstractmethod
        def process(self, job: Job[WebhookArgs]) -> None: ...

    class Concrete(Abstract):
        def process(self, job: Job[WebhookArgs]) -> None: ...

    assert Concrete.new(account_id=1).queue == "base"
    with pytest.raises(NoProcess):
        Abstract.new(account_id=1)


T = TypeVar("T")


def test_args_are_found_through_generic_bases_of_ones_own():
    class Swapped(Worker[Result, T], Generic[T, Result]):
        def process(self, job: Job[Any, Any]) -> Any: ...

    class Concrete(Swapped[int, WebhookArgs]):
        pass

    assert Concrete.new(account_id="1").encoded == '{"account_id":1}'


def test_each_attempt_has_an_instance_of_its_own():
    class Counting(Worker[None]):
        calls = 0

        def process(self, job: Job[None]) -> int:
            self.calls += 1
            return self.calls

    run = Counting.definition.invoke

    assert [run(Counting.new()), run(Counting.new())] == [1, 1]


# ── definitions ───────────────────────────────────────────────────────────────────────────────────


def test_a_definition_knows_how_its_worker_runs():
    assert (greet.definition.is_async, count.definition.is_async, Webhook.definition.is_async) == (
        True,
        False,
        True,
    )
    assert count.definition.invoke(count.new(["a"])) == 1
    assert asyncio.run(greet.definition.invoke(greet.new("Ada"))) == "Hello, Ada"


def test_nothing_of_a_definition_changes():
    with pytest.raises(AttributeError):
        greet.definition.backoff = 3  # type: ignore[misc]
    assert {field.name for field in fields(Definition)} >= {"template", "invoke", "is_async", "features"}


# ── the registry ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def scratch():
    """The names defined by a test are forgotten after it."""
    before = set(registered())
    yield
    for name in set(registered()) - before:
        forget(name)


def test_a_worker_is_found_by_module_and_qualified_name():
    assert resolve(f"{HERE}.greet") is greet.definition
    assert resolve(f"{HERE}.Webhook") is Webhook.definition
    assert f"{HERE}.count" in registered()


def test_a_worker_may_have_another_name(scratch):
    @job(name="billing.charge")
    def anything() -> None: ...

    assert anything.new().worker == "billing.charge"
    assert resolve("billing.charge") is anything.definition


def test_an_unknown_name_is_refused_and_nothing_is_imported():
    with pytest.raises(UnknownWorker, match="antigravity"):
        resolve("antigravity.fly")

    assert "antigravity" not in sys.modules


def test_nobody_else_writes_to_the_registry():
    with pytest.raises(TypeError):
        registered()["x"] = greet.definition  # type: ignore[index]


def test_two_workers_cannot_have_one_name(scratch):
    @job(name="taken")
    def first() -> None: ...

    with pytest.raises(DuplicateWorker, match="taken"):

        @job(name="taken")
        def second() -> None: ...

    with pytest.raises(DuplicateWorker, match="taken"):

        class Third(Worker[None], name="taken"):
            def process(self, job: Job[None]) -> None: ...

    assert resolve("taken") is first.definition


def test_classes_that_share_a_process_are_still_two_workers(scratch):
    class Base(Worker[None]):
        def process(self, job: Job[None]) -> None: ...

    class One(Base, name="shared"):
        pass

    with pytest.raises(DuplicateWorker):

        class Two(Base, name="shared"):
            pass


def test_the_same_code_loaded_again_takes_the_place_of_the_first(scratch, tmp_path, monkeypatch):
    (tmp_path / "reloaded.py").write_text("from tenuto.function import job\n\n@job\ndef work(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded")
    before = resolve("reloaded.work")

    importlib.reload(module)

    assert resolve("reloaded.work") is not before
    assert resolve("reloaded.work") is module.work.definition


# ── one piece of code that runs twice ─────────────────────────────────────────────────────────────


def sender(city: str, **options: Any) -> Any:
    @job(**options)
    def send() -> str:
        return city

    return send


def sender_class(city: str) -> Any:
    class Send(Worker[None]):
        def process(self, job: Job[None]) -> str:
            return city

    return Send


def sender_of_senders(city: str) -> Any:
    @job
    def again() -> str:
        return again.new().worker  # the registry holds its code, and its code holds it

    return again


MAKERS = [sender, sender_class, sender_of_senders]


@pytest.mark.parametrize("make", MAKERS)
def test_a_worker_that_was_replaced_makes_no_job(scratch, make):
    first, last = make("Rome"), make("Oslo")

    with pytest.raises(DuplicateWorker, match="give one of the two another name="):
        first.new()
    with pytest.raises(DuplicateWorker):
        first.options(priority=3).new()

    assert last.new().worker == last.definition.name


def test_one_function_makes_many_workers_that_have_a_name_each(scratch):
    made = {city: sender(city, name=f"send.{city}") for city in ("Rome", "Oslo")}

    assert [each.definition.invoke(each.new()) for each in made.values()] == ["Rome", "Oslo"]
    assert resolve("send.Rome") is made["Rome"].definition


def test_a_module_that_makes_its_workers_in_functions_can_be_loaded_again(scratch, tmp_path, monkeypatch):
    (tmp_path / "makes.py").write_text(
        "from tenuto import Worker, job\n"
        "def make():\n    @job\n    def work(): ...\n    return work\n"
        "def make_class():\n    class Work(Worker[None]):\n        def process(self, job): ...\n    return Work\n"
        "both = [make(), make_class()]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("makes")
    before = module.both

    importlib.reload(module)

    assert [resolve(each.definition.name) for each in before] == [each.definition for each in module.both]
    assert [each.new().worker for each in before] == [each.new().worker for each in module.both]


# ── scripts ───────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
from tenuto.function import job
from tenuto.worker import Worker

@job
def work(): ...

class Nightly(Worker[None]):
    def process(self, job): ...

print(work.new().worker, Nightly.new().worker)
"""


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["{folder}/tools/report.py"], "report.work report.Nightly"),
        (["-m", "tools.report"], "tools.report.work tools.report.Nightly"),
        (["-c", SCRIPT], "__main__.work __main__.Nightly"),
        (["-c", SCRIPT + SCRIPT.replace("def work", "\n\ndef work")], "__main__.work __main__.Nightly\n" * 2),
    ],
    ids=["script", "module", "prompt", "prompt-again"],
)
def test_a_script_counts_by_its_files_name(tmp_path, command, names):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "report.py").write_text(SCRIPT)

    arguments = [part.replace("{folder}", str(tmp_path)) for part in command]
    paths = f"{tmp_path}:{':'.join(sys.path)}"
    ran = subprocess.run(
        [sys.executable, *arguments], env={"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == names.strip()
