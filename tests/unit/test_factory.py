"""The factory: which class serves which client, URL and type, and what it says where none does."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import kairos
from kairos import Count, Gauge, Histogram, Series, Set, Timeseries, registry
from kairos.exceptions import (
    InvalidType,
    InvalidValue,
    KairosException,
    UnknownInterval,
    UnsupportedClient,
    UnsupportedType,
)
from kairos.registry import find_backend, hide_password, register_backend
from tests.support.memory_backend import Memory, MemoryBackend, MemorySeries

ROOT = Path(__file__).parents[2]
TARGET = "tests.support.memory_backend:MemoryBackend"
INTERVALS = {"minute": {"step": 60}}
TYPES = {"series": Series, "histogram": Histogram, "count": Count, "gauge": Gauge, "set": Set}


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test begin with the backends that kairos brings, and no others installed."""
    monkeypatch.setattr(registry, "_BACKENDS", dict(registry._BACKENDS))
    monkeypatch.setattr(registry, "_scanned", True)


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Return a client of a third party's backend that an application has registered."""
    register_backend("tests", TARGET)
    register_backend("memory", TARGET)
    yield Memory()
    Memory.named.clear()


def run(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, where every warning is an error."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- classes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_class_of_backend_and_type(kind: str, memory: Memory) -> None:
    series = Timeseries(memory, type=kind, intervals=INTERVALS)
    assert type(series).__name__ == f"Memory{TYPES[kind].__name__}"
    assert isinstance(series, (MemoryBackend, TYPES[kind], Timeseries))
    assert type(series).__mro__[1:3] == (MemoryBackend, kairos.Backend)
    # The other ways to say the same.
    for other in (
        TYPES[kind](memory, intervals=INTERVALS),
        TYPES[kind](memory, type=kind, intervals=INTERVALS),
        MemoryBackend(memory, type=kind, intervals=INTERVALS),
        type(series)(memory, intervals=INTERVALS),
        Timeseries("memory://here", type=kind, intervals=INTERVALS),
        Timeseries(client_or_url=memory, type=kind),
        Timeseries(client=memory, type=kind),
    ):
        assert type(other) is type(series)


def test_type_defaults_to_series(memory: Memory) -> None:
    assert type(Timeseries(memory)) is MemorySeries
    assert type(Timeseries(memory, type=None)) is MemorySeries


def test_scheme_is_case_insensitive(memory: Memory) -> None:
    one, other = Timeseries("memory://a", intervals=INTERVALS), Timeseries("Memory://a")
    assert type(one) is type(other)
    with pytest.raises(TypeError):
        Timeseries("memory://b", client_config={"nothing": "known"})


@pytest.mark.parametrize("wanted", ["nope", "Series", "", 5, ["series"], {"a": 1}, Series])
def test_unknown_type(wanted: Any, memory: Memory) -> None:
    if not wanted:
        assert type(Timeseries(memory, type=wanted)) is MemorySeries
        return
    with pytest.raises(
        UnsupportedType,
        match="is not supported by MemoryBackend: use one of series, histogram, count, gauge, set",
    ) as caught:
        Timeseries(memory, type=wanted)
    assert repr(wanted) in str(caught.value)
    assert isinstance(caught.value, NotImplementedError)
    assert isinstance(caught.value, KairosException)


def test_type_that_contradicts_the_class(memory: Memory) -> None:
    for cls in (Series, MemorySeries):
        with pytest.raises(InvalidValue, match=f"{cls.__name__} is of type 'series', it cannot be 'count'"):
            cls(memory, type="count")


class Mine(Timeseries):
    """An application's own kind of series."""

    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.made += 1
        super().__init__(*args, **kwargs)

    def insert(self, name: str, value: Any = None, *args: Any, **kwargs: Any) -> None:
        """Insert with a name that is the application's own."""
        super().insert("mine." + name, value, *args, **kwargs)


class MyCount(Count):
    """An application's own count."""


class MyBackend(MemoryBackend):
    """An application's own changes to a backend."""


@pytest.mark.parametrize("kind", TYPES)
def test_subclass_of_an_application(kind: str, memory: Memory) -> None:
    series = Mine(memory, type=kind, intervals=INTERVALS)
    assert isinstance(series, (Mine, MemoryBackend, TYPES[kind]))
    assert type(series).__name__ == "Mine"
    # The class is made once, __init__ runs once.
    assert type(Mine(memory, type=kind)) is type(series)
    assert series.made == 1
    series.insert("a", 1)
    assert series.list() == ["mine.a"]


def test_other_subclasses_of_an_application(memory: Memory) -> None:
    assert isinstance(MyCount(memory, intervals=INTERVALS), (MyCount, MemoryBackend))
    assert isinstance(MyBackend(memory, type="gauge"), (MyBackend, Gauge))

    class Own(MemorySeries):
        """A concrete class of an application."""

    assert type(Own(memory)) is Own
    # None of them took the place of the backend's own.
    assert type(Timeseries(memory)) is MemorySeries


def test_duplicate_cell_is_an_error() -> None:
    with pytest.raises(InvalidValue, match="Again: MemorySeries already serves 'series'"):
        type("Again", (MemoryBackend, Series), {})


def test_backend_that_derives_from_another(memory: Memory) -> None:
    class Derived(MemoryBackend):
        """A third party's variant of a backend."""

    class DerivedSeries(Derived, Series):
        """Its own class for one type."""

        def _process_row(self, raw: Any) -> Any:
            return sorted(raw)

    assert type(Derived(memory)) is DerivedSeries
    assert isinstance(Derived(memory, type="set"), (Derived, Set))
    assert type(MemoryBackend(memory)) is MemorySeries
    with pytest.raises(InvalidValue, match="already serves 'series'"):
        type("DerivedAgain", (Derived, Series), {})


# --- clients and URLs ------------------------------------------------------------------------------------


class Client(Memory):
    """A client that an application derived."""

    __module__ = "application.clients"


class Special(Client):
    """A client of another distribution."""

    __module__ = "special"


def test_subclass_of_a_client(memory: Memory) -> None:
    assert type(Timeseries(Client())) is MemorySeries


def install(monkeypatch: pytest.MonkeyPatch, **targets: str) -> list[str]:
    """Let a distribution be installed that brings backends; return the list of questions for those."""
    asked: list[str] = []

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [importlib.metadata.EntryPoint(key, target, group) for key, target in targets.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_scanned", False)
    return asked


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, memory=TARGET, tests=TARGET)
    assert type(Timeseries(Memory())) is MemorySeries
    assert type(Timeseries("memory://there")) is MemorySeries
    with pytest.raises(UnsupportedClient):
        Timeseries(object())
    assert asked == ["kairos.backends"]


def test_most_derived_class_of_a_client_decides(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, special=f"{__name__}:MyBackend", tests="nobody:Nothing")
    found = Timeseries(Special())
    assert isinstance(found, (MyBackend, MemorySeries))
    assert type(found).__name__ == "MySeries"
    assert isinstance(found, MyBackend)
    assert type(Timeseries(Special())) is type(found)
    # What is registered by code goes before what is installed.
    assert type(Timeseries(Client())) is MemorySeries


def test_installed_distribution(tmp_path: Path) -> None:
    info = tmp_path / "kairos_memory-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kairos-memory\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kairos.backends]\ntests = {TARGET}\nmemory = {TARGET}\n")
    done = run(
        """
        from kairos import Timeseries
        from tests.support.memory_backend import Memory

        for source in (Memory(), "memory://there"):
            hits = Timeseries(source, type="count", intervals={"minute": {"step": 60}})
            hits.insert("page", 2, timestamp=0)
            hits.bulk_insert({59: {"page": [1, 1]}, 60: {"page": [5]}})
            print(dict(hits.series("page", "minute", start=0, end=60)))
        """,
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("{0: 4, 60: 5}\n" * 2, "")


def test_register_backend() -> None:
    register_backend("memory", TARGET)
    register_backend("memory", TARGET)
    with pytest.raises(InvalidValue, match=f"'memory' is already served by '{TARGET}'"):
        register_backend("memory", "somebody:Else")
    with pytest.raises(InvalidValue, match="'redis' is already served by 'kairos.redis_backend"):
        register_backend("redis", TARGET)
    for malformed in ("", "module", "module:", ":Class", "module:Class()", "a b:C", "module:Class:x"):
        with pytest.raises(InvalidValue, match="not of the form 'package.module:Class'"):
            register_backend("else", malformed)


@pytest.mark.parametrize("target", ["no_such_package:Backend", "tests.support.memory_backend:Nothing"])
def test_backend_that_cannot_be_imported(target: str) -> None:
    register_backend("broken", target)
    with pytest.raises(UnsupportedClient, match=f"'broken://x' needs .* it is served by {target}"):
        find_backend("broken://x")


@pytest.mark.parametrize("client", [None, 5, object(), b"redis://x", {}, Timeseries, "localhost", "", "a:b"])
def test_unknown_client(client: Any) -> None:
    with pytest.raises(UnsupportedClient, match="is not supported: supported are clients of redis") as caught:
        Timeseries(client, intervals=INTERVALS)
    assert isinstance(caught.value, (KairosException, ImportError))
    assert isinstance(caught.value, ImportError)
    shown = repr(client) if isinstance(client, str) else f"builtins.{type(client).__name__}"
    assert shown in str(caught.value)


def test_no_client_at_all() -> None:
    with pytest.raises(UnsupportedClient, match="NoneType"):
        Timeseries(intervals=INTERVALS)


def test_unknown_scheme() -> None:
    pytest.importorskip("sqlalchemy")
    with pytest.raises(UnsupportedClient, match="nosuch://") as caught:
        Timeseries("nosuch://user:secret@host/name", intervals=INTERVALS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "broken://user:secret@host/0",
        "broken://:secret@host",
        "broken://:s/e@cret@host",
        "broken://:secret#?@host",
        "broken://:se\ncret@host",
        "broken://host?password=secret&db=1",
        "broken://host?db=1&password=se#cr/et",
    ],
)
def test_passwords_are_never_shown(url: str) -> None:
    register_backend("broken", "no_such_package:Backend")
    with pytest.raises(UnsupportedClient) as caught:
        Timeseries(url, intervals=INTERVALS)
    message = str(caught.value)
    assert "broken://" in message
    assert "***" in message
    assert "secret" not in message
    assert "cr" not in message.split(" needs ")[0]


def test_urls_without_a_password_are_shown_whole() -> None:
    for url in ("redis://localhost:6379/0", "sqlite:////tmp/a.db", "did you mean 'this'?"):
        assert hide_password(url) == url


# --- drivers ---------------------------------------------------------------------------------------------


def test_import_is_silent_and_light() -> None:
    done = run("import sys, kairos; print(*sys.modules)")
    assert done.stderr == ""
    imported = set(done.stdout.split())
    assert "kairos.timeseries" in imported
    drivers = {"redis", "valkey", "pymongo", "bson", "sqlalchemy", "psycopg", "pymysql", "gevent"}
    costly = {
        "asyncio",
        "calendar",
        "dataclasses",
        "difflib",
        "hashlib",
        "importlib.metadata",
        "inspect",
        "logging",
        "socket",
        "uuid",
    }
    assert not imported & (drivers | costly)


@pytest.mark.parametrize(
    ("modules", "url", "extra"),
    [
        ("redis valkey", "redis://:secret@localhost", "redis"),
        ("redis valkey", "valkey://:secret@localhost", "valkey"),
        ("pymongo bson", "mongodb://a:secret@localhost", "mongo"),
        ("sqlalchemy", "sqlite://", "sql"),
        ("sqlalchemy", "postgresql+psycopg://a:secret@localhost", "postgresql"),
        # The driver of a dialect, which the backend itself names.
        ("psycopg", "postgresql+psycopg://a:secret@localhost", None),
        ("pymysql", "mariadb+pymysql://a:secret@localhost", None),
    ],
)
def test_driver_that_is_missing(modules: str, url: str, extra: str | None) -> None:
    done = run(
        f"""
        import sys
        for module in {modules.split()}:
            sys.modules[module] = None
        import kairos
        try:
            kairos.Timeseries({url!r}, intervals={{"m": {{"step": 60}}}})
        except kairos.KairosException as error:
            assert isinstance(error, ImportError), type(error)
            print(error)
        """
    )
    assert done.stderr == ""
    assert (f"pip install kairos[{extra}]" if extra else modules) in done.stdout
    assert url.split("://")[0] in done.stdout
    assert "secret" not in done.stdout


# --- arguments of the constructor ------------------------------------------------------------------------


def test_unknown_option_warns_with_the_nearest(memory: Memory) -> None:
    with pytest.warns(UserWarning, match="is unknown; did you mean") as caught:
        Timeseries(memory, intervals=INTERVALS, read_fun=float, prefiks="x")
    assert [str(warning.message) for warning in caught] == [
        "MemorySeries: option 'read_fun' is unknown; did you mean 'read_func'?",
        "MemorySeries: option 'prefiks' is unknown; did you mean 'prefix'?",
    ]
    assert {warning.filename for warning in caught} == {__file__}


def test_unknown_key_of_an_interval_warns_where_it_was_given(memory: Memory) -> None:
    with pytest.warns(UserWarning, match="interval 'm': key 'label' is unknown; did you mean") as caught:
        Timeseries(memory, intervals={"m": {"step": 60, "label": "Minute"}})
    assert [warning.filename for warning in caught] == [__file__]


def test_known_options_do_not_warn(memory: Memory) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Timeseries(
            memory,
            type="series",
            intervals=INTERVALS,
            read_func=None,
            write_func=None,
            prefix=None,
            client_config=None,
            remember="2d",
        )


def test_intervals_are_left_alone(memory: Memory) -> None:
    config = {"step": "1h", "steps": "24", "resolution": "1min"}
    intervals = {"hour": config}
    series = Timeseries(memory, intervals=intervals)
    assert intervals == {"hour": config}
    assert config == {"step": "1h", "steps": "24", "resolution": "1min"}
    assert series._intervals["hour"]["expire"] == 86400
    Timeseries(memory, intervals=MappingProxyType({"hour": MappingProxyType(config)}))
    # One series can be made like another.
    again = Timeseries(memory, intervals=series._intervals)
    assert again._intervals["hour"]["resolution"] == 60


def test_without_intervals(memory: Memory) -> None:
    Timeseries(memory, intervals=INTERVALS).insert("a", 1)
    for series in (Timeseries(memory), Timeseries(memory, intervals={})):
        with pytest.raises(InvalidValue, match="this series has no intervals"):
            series.insert("a", 1)
        with pytest.raises(InvalidValue, match="this series has no intervals"):
            series.bulk_insert({0: {"a": [1]}})
        for read in (series.get, series.series, series.iterate):
            with pytest.raises(UnknownInterval, match="interval 'minute' is unknown: this series has none"):
                read("a", "minute")
        assert series.properties("a") == {}
        assert series.list() == ["a"]
    assert Timeseries(memory).delete("a") == 1


@pytest.mark.parametrize("prefix", ["app", "app:"])
def test_prefix_ends_with_a_colon(prefix: str, memory: Memory) -> None:
    series = Timeseries(memory, intervals=INTERVALS, prefix=prefix)
    series.insert("a", 1)
    assert [name for _, name, _ in memory.tables] == ["app:a"]
    assert series.list() == ["a"]
    assert Timeseries(memory, intervals=INTERVALS, prefix="other").list() == []


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({"intervals": []}, InvalidType),
        ({"intervals": {"m": 60}}, InvalidType),
        ({"intervals": {60: {"step": 60}}}, InvalidType),
        ({"intervals": {"m": {}}}, InvalidValue),
        ({"read_func": "float"}, InvalidType),
        ({"write_func": 5}, InvalidType),
        ({"prefix": 5}, InvalidType),
        ({"prefix": "a\0"}, InvalidValue),
        ({"client_config": "db=1"}, InvalidType),
        ({"remember": "long"}, InvalidValue),
        ({"remember": 0}, InvalidValue),
    ],
)
def test_bad_argument(argument: dict[str, Any], error: type[Exception], memory: Memory) -> None:
    with pytest.raises(error) as caught:
        Timeseries(memory, **argument)
    assert isinstance(caught.value, KairosException)


def test_public_names() -> None:
    for name in kairos.__all__:
        assert hasattr(kairos, name)
    assert kairos.timeseries.Timeseries is Timeseries
    for name in ("Series", "Histogram", "Count", "Gauge", "Set", "RelativeTime", "GregorianTime"):
        assert hasattr(kairos.timeseries, name)
    assert issubclass(kairos.UnknownInterval, (KairosException, KeyError))
