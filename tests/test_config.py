"""Where settings come from, which of them wins, and what is refused. No database is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tenuto import Queue, Rate, Sizes, Tenuto
from tenuto.config import Config
from tenuto.errors import ConfigError, InvalidUrl

ROOT = Path(__file__).parent.parent
SECRET = "geheim"

Write = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and an environment that says nothing of Tenuto."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("TENUTO_"):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file into the folder."""

    def write_file(name: str, text: str) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write_file


def load(**arguments: Any) -> Config:
    return Config.load(arguments)


def refusal(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(**arguments)
    return str(caught.value)


# ── which one wins ────────────────────────────────────────────────────────────────────────────────


def test_without_any_setting_it_is_a_file_in_this_folder_and_no_queue():
    assert (load().url, load().queues, load().namespace) == ("sqlite:///tenuto.db", {}, "tenuto")


def test_arguments_win_over_the_environment_and_that_over_the_files(write, monkeypatch):
    write("pyproject.toml", '[tool.tenuto]\nurl = "sqlite:///1.db"\nname = "n1"\nnode = "p1"\nschema = "s1"\n')
    write("tenuto.toml", 'url = "sqlite:///2.db"\nname = "n2"\nnode = "p2"\n')
    monkeypatch.setenv("TENUTO_URL", "sqlite:///3.db")
    monkeypatch.setenv("TENUTO_NAME", "n3")

    config = load(url="sqlite:///4.db")

    assert (config.url, config.name, config.node, config.namespace) == ("sqlite:///4.db", "n3", "p2", "s1")


def test_queues_come_whole_from_the_strongest_that_names_any(write, monkeypatch):
    write("pyproject.toml", "[tool.tenuto.queues]\na = 1\n")
    write("tenuto.toml", "[queues]\nb = 2\n")
    assert load().queues == {"b": 2}

    monkeypatch.setenv("TENUTO_QUEUES", "c=3")
    assert load().queues == {"c": 3}
    assert load(queues={"d": 4}).queues == {"d": 4}
    assert load(queues={}).queues == {}


def test_cron_entries_come_from_files_and_as_json_from_the_environment(write, monkeypatch):
    write("tenuto.toml", '[cron.a]\nexpression = "@daily"\nworker = "w"\nargs = { n = 7 }\n')
    (entry,) = load().cron.values()
    assert (entry.expression, entry.worker, entry.args, entry.timezone) == ("@daily", "w", {"n": 7}, "UTC")
    assert "7" not in repr(entry)

    monkeypatch.setenv("TENUTO_CRON", '{"b": {"expression": "@hourly", "worker": "w", "catch_up": 60}}')
    assert {name: entry.catch_up for name, entry in load().cron.items()} == {"b": timedelta(minutes=1)}
    monkeypatch.setenv("TENUTO_CRON", f'{{"b": "{SECRET}')
    with pytest.raises(ConfigError, match="cron: this is no JSON object of cron entries by name") as refused:
        load()
    assert SECRET not in str(refused.value)


def test_an_argument_that_is_none_says_nothing(monkeypatch):
    monkeypatch.setenv("TENUTO_NAME", "told")

    assert load(name=None).name == "told"


def test_the_schema_is_read_from_its_own_variable_and_from_no_other(monkeypatch):
    monkeypatch.setenv("SCHEMA", "somebody_elses")
    assert load().namespace == "tenuto"

    monkeypatch.setenv("TENUTO_SCHEMA", "ours")
    assert load().namespace == "ours"


def test_variables_that_are_no_settings_are_left_alone(monkeypatch):
    monkeypatch.setenv("TENUTO_TEST_POSTGRES", "postgresql://somewhere")

    assert load().url == "sqlite:///tenuto.db"


def test_a_pyproject_of_others_says_nothing(write):
    write("pyproject.toml", '[tool.ruff]\nline-length = 120\n[project]\nname = "x"\n')

    assert load() == load(url="sqlite:///tenuto.db")


def test_an_app_takes_its_settings_from_all_of_them(monkeypatch):
    monkeypatch.setenv("TENUTO_QUEUES", "mail=2")

    app = Tenuto(name="shop")

    assert (app.name, app.config.queues) == ("shop", {"mail": 2})


def test_an_app_can_be_configured_until_it_is_open(monkeypatch):
    app = Tenuto(name="shop", queues={"mail": 2}, schema=None)

    app.configure(queues="default=3", grace=2, node=None)

    assert (app.name, app.config.queues, app.config.grace) == ("shop", {"default": 3}, timedelta(seconds=2))


async def test_an_open_app_cannot_be_configured():
    async with Tenuto() as app:
        with pytest.raises(ConfigError, match="the app is open"):
            app.configure(name="other")


# ── queues with limits ────────────────────────────────────────────────────────────────────────────


def test_a_queue_in_a_file_may_be_a_table_with_limits(write):
    write("tenuto.toml", '[queues]\na = 2\nb = { slots = 5, limit = 3, rate = "60/m" }\n')

    assert load().queues == {"a": 2, "b": Queue(5, limit=3, rate=Rate(60, per=60))}


def test_queues_with_limits_survive_another_setting():
    app = Tenuto(queues={"a": Queue(5, limit=3, partition_rate=Rate(60, per=60, burst=2))})

    app.configure(grace=2)

    assert app.config.queues == {"a": Queue(5, limit=3, partition_rate=Rate(60, per=60, burst=2))}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("{ slots = 0 }", "queue 'a': slots=0 is out of range"),
        ("{ limit = 3, speed = 1 }", "a queue has no 'speed'"),
        ('{ rate = "often" }', "'often' is no rate; write it like 60/m"),
        ("{ partition_limit = true }", "partition_limit=True is out of range"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(write, table, told):
    write("tenuto.toml", f"[queues]\na = {table}\n")

    assert told in refusal()


# ── how they are written ──────────────────────────────────────────────────────────────────────────


def test_sizes_come_from_arguments_files_and_the_environment(write, monkeypatch):
    write("tenuto.toml", "[sizes]\nargs = 5_000_000\n")

    assert Config.load({}).sizes == Sizes(args=5_000_000)
    monkeypatch.setenv("TENUTO_SIZES", " error = 32000, meta=1000 ")
    assert Config.load({}).sizes == Sizes(error=32_000, meta=1_000)
    assert Config.load({"sizes": {"result": 1_000}}).sizes == Sizes(result=1_000)
    app = Tenuto(sizes=Sizes(args=200))
    app.configure(name="other")
    assert app.config.sizes == Sizes(args=200)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"arg": 5}, "there is no size of 'arg'; there are args, meta, result, recorded, error"),
        ({"args": 99}, "args=99 is out of range: 100 to 16,000,000 bytes"),
        ({"args": True}, "args=True is out of range"),
        ({"meta": 1_000_001}, "out of range: 100 to 1,000,000 bytes"),
        ({"error": "big"}, "error='big' is out of range"),
        ("args=big", "'big' is no size; write it like args=1000000"),
        ("args", "'' is no size"),
        (7, "sizes: "),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused(sizes, told):
    with pytest.raises(ConfigError) as refused:
        Config.load({"sizes": sizes})

    assert told in str(refused.value)


@pytest.mark.parametrize("given", [90, 90.0, timedelta(seconds=90), "90"])
def test_a_duration_is_a_timedelta_or_a_number_of_seconds(given):
    assert load(grace=given).grace == timedelta(seconds=90)


def test_a_duration_in_a_file_or_in_the_environment_is_a_number_of_seconds(write, monkeypatch):
    write("tenuto.toml", "keep_jobs = 3600\nlease = 2.5\n")
    monkeypatch.setenv("TENUTO_GRACE", "1.5")

    config = load()

    assert (config.keep_jobs, config.lease) == (timedelta(hours=1), timedelta(seconds=2.5))
    assert config.grace == timedelta(seconds=1.5)


def test_queues_can_be_a_text_and_have_ten_slots_unless_it_says_how_many():
    assert load(queues=" default=20, mail , slow = 1,").queues == {"default": 20, "mail": 10, "slow": 1}
    assert load(queues="").queues == {}


def test_a_setting_never_changes():
    with pytest.raises(ValueError, match="frozen"):
        load().name = "other"  # type: ignore[misc]


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("file", "head"), [("tenuto.toml", ""), ("pyproject.toml", "[tool.tenuto]\n")])
def test_an_unknown_key_in_a_file_is_refused_by_its_name(write, file, head):
    write(file, f"{head}gracee = 3\n")

    assert "there is no 'gracee'; is it 'grace'?" in refusal()


def test_a_key_like_no_other_is_refused_with_those_there_are(write):
    write("tenuto.toml", "xyz = 3\n")

    assert "there is no 'xyz'; there are url, name, schema, queues" in refusal()


@pytest.mark.parametrize("file", ["tenuto.toml", "pyproject.toml"])
def test_a_file_that_cannot_be_read_is_named(write, file):
    write(file, "[tool.tenuto\n")

    assert refusal().startswith(f"{file} cannot be read: ")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"grace": "30s"}, "grace: '30s' is no number of seconds"),
        ({"grace": -1}, "grace=-1 is out of range"),
        ({"keep_jobs": True}, "keep_jobs=True is no duration"),
        ({"lease": 0.5}, "lease: a lease lasts from one second to an hour"),
        ({"connections": 1}, "connections: "),
        ({"name": ""}, "name='' is empty"),
        ({"node": "a\x1bb"}, "holds a control character"),
        ({"queues": "mail=many"}, "queues: queue 'mail' has 'many' slots; write mail=10"),
        ({"queues": "mail=1,mail=2"}, "queues: queue 'mail' is named twice"),
        ({"queues": {"mail": 0}}, "queue 'mail' has 0 slots; 1 to 100,000 are possible"),
        ({"queues": {"mail": True}}, "queue 'mail' has True slots; give a number"),
        ({"queues": {"": 1}}, "queue='' is empty"),
        ({"queues": 5}, "queues: "),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_the_reason(setting, told):
    assert told in refusal(**setting)


def test_every_setting_that_cannot_be_used_is_named():
    told = refusal(grace=-1, queues="mail=0")

    assert "grace" in told
    assert "mail" in told


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db.example:5433/jobs?sslpassword={SECRET}",
        f"postgresql://me:p/{SECRET}@db.example/jobs",
        f"postgresql://me:{SECRET}@[db.example/jobs",
        f"sqlite:///jobs.db?password={SECRET}",
        f"mysql://me:{SECRET}@db.example/jobs",
        f"me:{SECRET}@db.example",
        SECRET,
    ],
)
def test_the_password_of_a_url_is_never_told(url):
    config = load(url=url)
    told = [repr(config), str(config), config.place, refusal(url=url, grace=-1), refused_app(url)]

    assert [text for text in told if SECRET in text] == []


def test_an_sqlite_file_has_no_other_place_to_listen_at(monkeypatch):
    monkeypatch.setenv("TENUTO_LISTEN_URL", "postgresql://me:secret@db.example/jobs")
    assert "secret" not in repr(load())

    with pytest.raises(InvalidUrl, match="listen_url= is for PostgreSQL"):
        Tenuto("sqlite:///jobs.db")


@pytest.mark.parametrize("options", ["mode=ro", "mode=ro&cache=shared", "mode", "mode&x=1"])
def test_an_option_of_an_sqlite_url_is_refused_by_its_name(options):
    with pytest.raises(InvalidUrl, match="an SQLite URL takes no options, and this one has 'mode'"):
        Tenuto(f"sqlite:///jobs.db?{options}")


def test_a_file_name_with_a_nul_is_refused():
    with pytest.raises(InvalidUrl, match="NUL"):
        Tenuto("sqlite:///a\0b.db")


def refused_app(url: str) -> str:
    try:
        return repr(Tenuto(url))
    except InvalidUrl as error:
        return f"{error} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"


def test_the_place_says_where_the_database_is():
    postgres = load(url="postgresql://me:x@db.example:5433/my%20jobs", schema="shop")

    assert load(url="sqlite:////var/lib/jobs.db").place == "SQLite /var/lib/jobs.db"
    assert postgres.place == "PostgreSQL db.example:5433/my jobs, schema shop"
    assert (load(url="sqlite:///jobs.db").file, postgres.file) == (Path("jobs.db"), None)


# ── nothing happens at import ─────────────────────────────────────────────────────────────────────


def test_importing_tenuto_reads_no_file_and_loads_no_terminal(write):
    write("tenuto.toml", "this is no TOML")
    program = (
        "import sys, tenuto\n"
        "assert not {'rich', 'typer', 'psycopg'} & set(sys.modules), 'imported too much'\n"
        "try: tenuto.Tenuto()\n"
        "except tenuto.TenutoError as error: print(error)\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("tenuto.toml cannot be read: ")
