"""Tables that kairos creates, tables that it finds, and dialects that it has no words for."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Engine
from sqlalchemy.pool import StaticPool

from kairos import Timeseries, UnknownOutcome
from kairos.exceptions import DamagedData, InvalidType, InvalidValue, UnsupportedClient

T = 1362486840
INTERVALS = {"minute": {"step": 60}, "hour": {"step": 3600, "resolution": 60}}
TYPES = ["series", "histogram", "count", "gauge", "set"]
EXPECTED: dict[str, Any] = {
    "series": [1.0, 2.0, 2.0],
    "histogram": {1.0: 1, 2.0: 2},
    "count": 5,
    "gauge": 2.0,
    "set": {1.0, 2.0},
}

#: The tables of the original, on SQLite.
_HEAD = "name VARCHAR(255) NOT NULL, interval VARCHAR(255) NOT NULL, "
_TIMES = "i_time INTEGER NOT NULL, r_time INTEGER, "
_KEY = "UNIQUE (name, interval, i_time, r_time"
ORIGINAL = {
    "series": f"{_HEAD}insert_time FLOAT NOT NULL, {_TIMES}value FLOAT NOT NULL",
    "histogram": f"{_HEAD}{_TIMES}value FLOAT NOT NULL, count INTEGER NOT NULL, {_KEY}, value)",
    "count": f"{_HEAD}{_TIMES}count INTEGER NOT NULL, {_KEY})",
    "gauge": f"{_HEAD}{_TIMES}value FLOAT NOT NULL, {_KEY})",
    "set": f"{_HEAD}{_TIMES}value FLOAT NOT NULL, {_KEY}, value)",
}


class OddDialect(SQLiteDialect_pysqlite):
    """SQLite under a name that nobody knows."""

    name = "odd"
    supports_statement_cache = True


class OddCountDialect(OddDialect):
    """One that does not tell how many rows an update has hit, either."""

    name = "oddcount"
    supports_statement_cache = True
    supports_sane_rowcount = False


registry.register("odd", __name__, "OddDialect")
registry.register("oddcount", __name__, "OddCountDialect")


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Return a function that opens the test's database, under any name of the dialect."""
    with contextlib.ExitStack() as stack:

        def make(dialect: str = "sqlite", **options: Any) -> Engine:
            engine = create_engine(f"{dialect}:///{tmp_path / 'kairos.db'}", **options)
            stack.callback(engine.dispose)
            return engine

        yield make


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """Return an engine on the test's database."""
    return make_engine()


def series(client: Any, kind: str = "count", **options: Any) -> Any:
    options.setdefault("intervals", INTERVALS)
    return Timeseries(client, type=kind, **options)


def rows(engine: Engine, sql: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def fill(kairos: Any, **handle: Any) -> None:
    for value in (1, 2, 2):
        kairos.insert("a", value, timestamp=T, **handle)


def value_of(kairos: Any, name: Any = "a", interval: str = "minute", **options: Any) -> Any:
    (value,) = kairos.get(name, interval, timestamp=T, **options).values()
    return value


def run_threads(count: int, work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# --- new tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_reading_creates_nothing(engine: Engine, kind: str) -> None:
    kairos = series(engine, kind)
    assert not value_of(kairos)
    assert kairos.list() == []
    assert kairos.properties("a") == {}
    assert kairos.delete("a") == kairos.delete_all() == kairos.expire() == 0
    assert inspect(engine).get_table_names() == []


@pytest.mark.parametrize("kind", TYPES)
def test_a_new_table_has_the_columns_of_the_original_and_no_others(engine: Engine, kind: str) -> None:
    fill(series(engine, kind))
    execute(engine, f"CREATE TABLE original ({ORIGINAL[kind]})")
    columns = [
        {column["name"]: column["nullable"] for column in inspect(engine).get_columns(table)}
        for table in (kind, "original")
    ]
    assert columns[0] == columns[1]
    assert rows(engine, f"SELECT DISTINCT r_time FROM '{kind}' WHERE interval = 'minute'") == [(None,)]


def test_counts_of_a_new_table_are_whole_as_long_as_they_can_be(engine: Engine) -> None:
    kairos = series(engine, intervals={"minute": {"step": 60}})
    kairos.insert("a", 2**62, timestamp=T)
    kairos.insert("a", 1, timestamp=T)
    kairos.insert("b", 1.5, timestamp=T)
    kairos.insert("b", 1.5, timestamp=T)
    assert rows(engine, "SELECT name, count, typeof(count) FROM count ORDER BY name") == [
        ("a", 2**62 + 1, "integer"),
        ("b", 3, "integer"),
    ]
    assert value_of(kairos) == 2**62 + 1
    assert type(value_of(kairos, "b")) is int


@pytest.mark.parametrize("name", ["a table", 'quo"ted', "select", "pro%cent", "co:lon", "x" * 200, "Ünïcode"])
@pytest.mark.parametrize("dialect", ["sqlite", "odd"])
def test_a_table_may_have_any_name(make_engine: Callable[..., Engine], dialect: str, name: str) -> None:
    kairos = series(make_engine(dialect), "histogram", table_name=name)
    fill(kairos)
    kairos.insert("a", 3, timestamp=T, id="x")
    assert value_of(kairos) == {1.0: 1, 2.0: 2, 3.0: 1}


def test_a_table_of_something_else_is_an_error_that_names_it(engine: Engine) -> None:
    execute(engine, "CREATE TABLE gauge (name TEXT, pressure FLOAT)")
    with pytest.raises(InvalidValue, match=r"'gauge'.*interval.*table_name"):
        value_of(series(engine, "gauge"))


def test_a_table_that_is_dropped_is_made_again(engine: Engine) -> None:
    kairos = series(engine)
    kairos.insert("a", 1, timestamp=T, id="x")
    execute(engine, "DROP TABLE count", "DROP TABLE count_ids")
    assert value_of(kairos) == 0
    kairos.insert("a", 1, timestamp=T)
    execute(engine, "DROP TABLE count")
    kairos.insert("a", 1, timestamp=T, id="x")
    assert value_of(kairos) == 1


def test_threads_that_write_first_at_once_all_succeed(engine: Engine) -> None:
    def work(number: int) -> None:
        kairos = series(engine)
        kairos.insert("a", timestamp=T)
        kairos.insert("a", timestamp=T, id=number)

    run_threads(8, work)
    assert value_of(series(engine)) == 16


def test_a_read_only_database_is_read(engine: Engine, tmp_path: Path) -> None:
    fill(series(engine))
    engine.dispose()
    path = tmp_path / "kairos.db"
    for url in (f"sqlite:///file:{path}?mode=ro&uri=true", f"sqlite:///file:{path}?immutable=1&uri=true"):
        kairos = series(url)
        assert value_of(kairos) == 5
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            kairos.insert("a", timestamp=T)


# --- tables of the original --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_a_table_of_the_original_is_used_as_it_is(engine: Engine, kind: str) -> None:
    execute(engine, f"CREATE TABLE '{kind}' ({ORIGINAL[kind]})")
    kairos = series(engine, kind)
    fill(kairos)
    for interval in INTERVALS:
        assert value_of(kairos, interval=interval) == EXPECTED[kind]
    if kind != "series":
        assert kairos._layout.ruled is False
        per_bucket = {"count": 1, "gauge": 1}.get(kind, 2)
        assert rows(engine, f"SELECT COUNT(*) FROM '{kind}'") == [(2 * per_bucket,)]
    assert kairos.delete("a") > 0


@pytest.mark.parametrize("kind", ["count", "histogram", "gauge", "set"])
def test_the_rule_of_uniqueness_is_found_when_it_is_added_by_hand(engine: Engine, kind: str) -> None:
    value = ", value" if kind in ("histogram", "set") else ""
    execute(
        engine,
        f"CREATE TABLE '{kind}' ({ORIGINAL[kind]})",
        f"CREATE UNIQUE INDEX any_name ON '{kind}' "
        f"(name, interval, i_time, COALESCE(r_time, -9223372036854775807){value})",
    )
    kairos = series(engine, kind)
    fill(kairos)
    assert kairos._layout.ruled
    assert value_of(kairos) == EXPECTED[kind]


def test_rows_that_lie_there_twice_are_merged_when_read_and_when_written(engine: Engine) -> None:
    for kind in TYPES:
        execute(engine, f"CREATE TABLE '{kind}' ({ORIGINAL[kind]})")
    minute = T // 60
    for kind, columns, values in (
        ("count", "count", ("2", "3")),
        ("histogram", "value, count", ("1.5, 2", "1.5, 3")),
        ("set", "value", ("1.5", "1.5")),
        ("gauge", "value", ("1.5", "2.5")),
    ):
        for value in values:
            execute(
                engine,
                f"INSERT INTO '{kind}' (name, interval, i_time, {columns}) "
                f"VALUES ('a', 'minute', {minute}, {value})",
            )
    coarse = {"minute": {"step": 60}}
    found = {kind: value_of(series(engine, kind, intervals=coarse)) for kind in TYPES[1:]}
    assert found == {"histogram": {1.5: 5}, "count": 5, "gauge": 2.5, "set": {1.5}}
    assert value_of(series(engine, "set", intervals=coarse), transform="count") == 1
    assert value_of(series(engine, "histogram", intervals=coarse), transform="sum") == 7.5
    for kind in TYPES[1:]:
        series(engine, kind, intervals=coarse).insert("a", 1.5 if kind != "count" else 10, timestamp=T)
    found = {kind: value_of(series(engine, kind, intervals=coarse)) for kind in TYPES[1:]}
    assert found == {"histogram": {1.5: 6}, "count": 15, "gauge": 1.5, "set": {1.5}}


def test_integer_counts_of_the_original_hold_fractions_on_sqlite(engine: Engine) -> None:
    execute(engine, f"CREATE TABLE count ({ORIGINAL['count']})")
    kairos = series(engine)
    kairos.insert("a", 1.5, timestamp=T)
    kairos.insert("a", 1, timestamp=T)
    assert value_of(kairos) == 2.5


def test_damage_is_told_with_its_place_and_never_counted(engine: Engine) -> None:
    for kind in ("count", "series"):
        kairos = series(engine, kind)
        fill(kairos)
        execute(engine, f"UPDATE '{kind}' SET {'count' if kind == 'count' else 'value'} = 'many'")
        for options in ({}, {"transform": "rate"}, {"transform": "rate", "condense": True}):
            with pytest.raises(DamagedData, match=rf"'{kind}', name 'a', interval 'hour'.*many"):
                kairos.series("a", "hour", start=T, **options)


#: What a column of SQLite makes of values that are no numbers, by the type that it was declared with.
NO_NUMBERS = [
    *itertools.product(("FLOAT", "NUMERIC", "TEXT", ""), ("'many'", "NULL", "x'35'")),
    *(("TEXT", "5"), ("", "'5'")),
]


@pytest.mark.parametrize("value_type", ["float", "int"])
@pytest.mark.parametrize(("declared", "value"), NO_NUMBERS)
def test_no_aggregate_is_made_of_what_is_no_number(
    engine: Engine, value_type: str, declared: str, value: str
) -> None:
    columns = ORIGINAL["series"].replace("value FLOAT NOT NULL", f"value {declared}")
    execute(engine, f"CREATE TABLE series ({columns})")
    kairos = series(engine, "series", value_type=value_type)
    # Into the first, the only and the last of the buckets of a name.
    for name, resolutions in (("a", (0, 1, 2)), ("b", (0,)), ("c", (2, 1, 0))):
        kairos.bulk_insert([(T + 60 * each, name, 7) for each in resolutions])
        execute(
            engine,
            "INSERT INTO series (name, interval, insert_time, i_time, r_time, value) "
            f"VALUES ('{name}', 'hour', 1, {T // 3600}, {T // 60 + resolutions[0]}, {value})",
        )
    for name, wanted in itertools.product("abc", ("count", "rate", "sum", "mean", "min", "max")):
        for options in ({}, {"condense": True}, {"collapse": True}):
            with pytest.raises(DamagedData, match=f"'series', name '{name}', interval 'hour'"):
                kairos.series(name, "hour", start=T, transform=wanted, **options)


@pytest.mark.parametrize("kind", ["series", "histogram", "set"])
def test_aggregates_of_infinity_are_those_of_python(engine: Engine, kind: str) -> None:
    kairos = series(engine, kind)
    infinity = float("inf")
    for name, value in (("up", infinity), ("down", -infinity)):
        kairos.bulk_insert([(T, name, value), (T, name, 1.5), (T + 60, name, 2.5)])
    results = {"up": (infinity, infinity, 1.5), "down": (-infinity, 1.5, -infinity)}
    for options in ({}, {"condense": True}):
        for name, (total, highest, lowest) in results.items():
            found = value_of(kairos, name, transform=["sum", "max", "min", "mean", "count"], **options)
            assert found == {"sum": total, "max": highest, "min": lowest, "mean": total, "count": 2}
    assert value_of(kairos, ["up", "down"], transform="min") == -infinity


def test_sums_of_whole_numbers_are_whole_unless_there_are_fractions(engine: Engine) -> None:
    kairos = series(engine, "series", value_type="int")
    kairos.bulk_insert([(T, "a", 2**62), (T, "a", 2**62), (T, "b", 2), (T, "b", 3), (T, "c", 4)])
    kairos.bulk_insert([(T - 60, "a", 1)])
    execute(engine, "UPDATE series SET value = 2.5 WHERE name = 'b' AND value = 2")
    wanted = ["sum", "min", "max", "count"]
    for options in ({}, {"condense": True}):
        for name, expected in (("a", [2**63, 2**62, 2**62, 2]), ("b", [5.5, 2.5, 3, 2]), ("c", [4, 4, 4, 1])):
            (_, found) = kairos.series(
                name, "minute", start=T - 60, end=T, transform=wanted, **options
            ).values()
            assert repr(list(found.values())) == repr(expected)


# --- other dialects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["odd", "oddcount"])
@pytest.mark.parametrize("kind", TYPES)
def test_an_unknown_dialect_does_all_that_others_do(
    make_engine: Callable[..., Engine], dialect: str, kind: str
) -> None:
    engine = make_engine(dialect)
    # Else savepoints would not be part of the transaction.
    begin_by_hand(engine)
    kairos = series(engine, kind)
    assert not value_of(kairos)
    fill(kairos)
    kairos.bulk_insert({T: {"b": [1.0, 2.0, 2.0]}})
    for _ in range(2):
        kairos.insert("c", 1, timestamp=T, id="once")
        kairos.bulk_insert([(T, "c", 2, "twice"), (T, "c", 2, "twice"), (T, "c", 2, 3)])
    for name in "abc":
        for interval in INTERVALS:
            assert value_of(kairos, name, interval) == EXPECTED[kind]
    with engine.connect() as connection:
        kairos.insert("d", 1, timestamp=T, connection=connection)
        kairos.insert("d", 1, timestamp=T, connection=connection, id="rolled back")
        connection.rollback()
    assert kairos.list() == ["a", "b", "c"]
    kairos.insert("d", 1, timestamp=T, id="rolled back")
    hour = T // 3600 * 3600
    assert kairos.properties("d") == {
        "minute": {"first": T, "last": T},
        "hour": {"first": hour, "last": hour},
    }
    if kind != "gauge":
        for transform in ("count", "sum", "max"):
            assert value_of(kairos, ["a", "b"], transform=transform) == value_of(
                kairos, ["a", "b"], transform=transform, process_row=lambda raw: kairos._process_row(raw)
            )
    assert kairos.delete("d") == 2
    assert kairos.delete_all() > 0
    assert kairos.list() == []
    kairos.insert("d", 1, timestamp=T, id="rolled back")
    assert kairos.list() == ["d"]


@pytest.mark.parametrize("dialect", ["sqlite", "odd"])
@pytest.mark.parametrize("kind", ["count", "histogram", "set"])
def test_writers_without_a_rule_make_one_row(
    make_engine: Callable[..., Engine], dialect: str, kind: str
) -> None:
    engine = make_engine(dialect, connect_args={"timeout": 30})
    if dialect == "sqlite":
        execute(engine, f"CREATE TABLE '{kind}' ({ORIGINAL[kind]})")

    def work(number: int) -> None:
        kairos = series(engine, kind)
        for step in range(10):
            kairos.insert("a", 1, timestamp=T)
            kairos.insert("b", 1, timestamp=T, id=step)

    run_threads(6, work)
    kairos = series(engine, kind)
    totals = {"count": (60, 10), "histogram": ({1.0: 60}, {1.0: 10}), "set": ({1.0}, {1.0})}
    assert (value_of(kairos, "a"), value_of(kairos, "b")) == totals[kind]
    assert rows(engine, f"SELECT COUNT(*) FROM '{kind}'") == [(4,)]


# --- transactions ------------------------------------------------------------------------------------


def begin_by_hand(engine: Engine) -> None:
    """Take over the transactions of SQLite's driver, as SQLAlchemy's documentation shows."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


@pytest.mark.parametrize("mode", ["usual", "autocommit", "by hand"])
@pytest.mark.parametrize("ruled", [True, False])
def test_a_call_is_one_transaction_in_every_mode(
    make_engine: Callable[..., Engine], mode: str, ruled: bool
) -> None:
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if mode == "autocommit" else {}
    engine = make_engine(**options)
    if mode == "by hand":
        begin_by_hand(engine)
    if not ruled:
        execute(engine, f"CREATE TABLE histogram ({ORIGINAL['histogram']})")
    kairos = series(engine, "histogram")
    fill(kairos)
    execute(
        engine,
        "CREATE TRIGGER refuse BEFORE INSERT ON histogram WHEN new.value = 66 "
        "BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    many = [float(value) for value in range(5000)]
    with pytest.raises(InvalidValue, match="not this one"):
        kairos.bulk_insert({T: {"b": many}})
    with pytest.raises(InvalidValue, match="not this one"):
        kairos.insert("b", 66, timestamp=T, id="x")
    assert kairos.list() == ["a"]
    execute(engine, "DROP TRIGGER refuse")
    kairos.insert("b", 66, timestamp=T, id="x")
    assert value_of(kairos, "b") == {66.0: 1}
    fill(kairos)
    assert value_of(kairos) == {1.0: 2, 2.0: 4}
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["usual", "by hand"])
@pytest.mark.parametrize("ruled", [True, False])
def test_the_callers_transaction_decides(
    make_engine: Callable[..., Engine], mode: str, ruled: bool
) -> None:
    engine = make_engine()
    if mode == "by hand":
        begin_by_hand(engine)
    if not ruled:
        execute(engine, f"CREATE TABLE histogram ({ORIGINAL['histogram']})")
    kairos = series(engine, "histogram")
    for outcome in ("rollback", "commit"):
        with engine.connect() as connection:
            kairos.insert("a", 1, timestamp=T, connection=connection, id="first")
            kairos.insert("a", 1, timestamp=T, connection=connection, id="first")
            kairos.insert("a", 2, timestamp=T, connection=connection)
            kairos.bulk_insert({T: {"a": [2]}}, connection=connection)
            getattr(connection, outcome)()
        assert value_of(kairos) == ({} if outcome == "rollback" else {1.0: 1, 2.0: 2})
    with engine.connect() as connection:
        with pytest.raises(InvalidValue):
            kairos.insert("a", "no number", timestamp=T, connection=connection)
        kairos.insert("b", 1, timestamp=T, connection=connection)
        connection.commit()
    assert kairos.list() == ["a", "b"]


def test_a_call_that_fails_leaves_nothing_in_the_callers_transaction(engine: Engine) -> None:
    kairos = series(engine, "histogram")
    fill(kairos)
    execute(
        engine,
        "CREATE TRIGGER refuse BEFORE INSERT ON histogram WHEN new.value = 4999 "
        "BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    with engine.begin() as connection:
        kairos.insert("b", 1, timestamp=T, connection=connection)
        with pytest.raises(InvalidValue, match="not this one"):
            kairos.bulk_insert({T: {"c": list(range(5000))}}, connection=connection)
    assert kairos.list() == ["a", "b"]


def test_a_connection_of_another_kind_is_refused(engine: Engine, make_engine: Callable[..., Engine]) -> None:
    kairos = series(engine)
    with pytest.raises(InvalidType, match="Connection"):
        kairos.insert("a", connection=engine)
    with make_engine("odd").connect() as connection, pytest.raises(InvalidValue, match="odd"):
        kairos.insert("a", connection=connection)


def test_a_locked_database_is_tried_again(engine: Engine, make_engine: Callable[..., Engine]) -> None:
    impatient = make_engine(connect_args={"timeout": 0})
    kairos = series(impatient)
    kairos.insert("a", timestamp=T)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        release = threading.Timer(0.05, connection.rollback)
        release.start()
        kairos.insert("a", timestamp=T)
        release.join()
    assert value_of(kairos) == 2


def test_an_error_of_the_commit_tells_that_the_outcome_is_unknown(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kairos = series(engine)
    kairos.insert("a", timestamp=T)
    attempts = []

    def commit(self: Any, connection: Any) -> None:
        attempts.append(connection)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(SQLiteDialect_pysqlite, "do_commit", commit)
    with pytest.raises(UnknownOutcome, match="COMMIT") as caught:
        kairos.insert("a", timestamp=T)
    assert isinstance(caught.value, sqlalchemy.exc.OperationalError)
    assert len(attempts) == 1


def test_nothing_is_repeated_after_a_lost_connection(engine: Engine) -> None:
    kairos = series(engine)
    kairos.insert("a", timestamp=T)
    executed = []

    @event.listens_for(engine, "before_cursor_execute")
    def _lose(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        executed.append(statement)
        raise sqlite3.OperationalError("the server has gone away")

    with pytest.raises((sqlalchemy.exc.OperationalError, sqlite3.OperationalError), match="gone away"):
        kairos.insert("a", timestamp=T)
    assert len(executed) == 1
    event.remove(engine, "before_cursor_execute", _lose)
    assert value_of(kairos) == 1


# --- engines -----------------------------------------------------------------------------------------


def test_a_file_that_is_given_as_a_url_is_in_wal_mode(tmp_path: Path) -> None:
    kairos = series(f"sqlite:///{tmp_path / 'new.db'}")
    fill(kairos)
    with kairos._client.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert found == ["wal", 1, 30000]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "engine"])
def test_threads_share_a_database_in_memory(url: str) -> None:
    client: Any = url
    if url == "engine":
        client = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
    counts, sets = series(client), series(client, "set")

    def work(number: int) -> None:
        for step in range(25):
            counts.insert("a", timestamp=T)
            sets.insert("a", random.randrange(5), timestamp=T)
            counts.insert("b", timestamp=T, id=step)
            assert value_of(counts) > 0

    run_threads(8, work)
    assert value_of(counts) == 200
    assert value_of(counts, "b") == 25
    counts._client.dispose()
    sets._client.dispose()


def test_each_thread_of_the_usual_engine_in_memory_has_its_own_data() -> None:
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False})
    kairos = series(engine)
    found = []

    def work(number: int) -> None:
        found.append(value_of(kairos))
        kairos.insert("a", 7, timestamp=T)
        found.append(value_of(kairos))

    fill(kairos)
    assert value_of(kairos) == 5
    run_threads(1, work)
    assert found == [0, 7]
    engine.dispose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_uses_connections_of_its_own(engine: Engine) -> None:
    kairos = series(engine)
    kairos.insert("a", timestamp=T)
    pool = engine.pool
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if not child:
        failed = 1
        with contextlib.suppress(Exception):
            kairos.insert("a", timestamp=T)
            failed = 0 if engine.pool is not pool and value_of(kairos) == 2 else 2
        os._exit(failed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engine.pool is pool
    kairos.insert("a", timestamp=T)
    assert value_of(kairos) == 3


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ("nosuch://host/db", r"nosuch://host/db.*sqlite:///"),
        ("postgresql+nosuch://user:secret@host/db", r"postgresql\+nosuch://\*\*\*@host/db"),
        ("oracle+oracledb://host/db", "driver that is missing"),
        ("sqlite+aiosqlite://", "synchronous|driver that is missing"),
    ],
)
def test_a_url_that_nobody_serves_is_named(client: str, message: str) -> None:
    with pytest.raises(UnsupportedClient, match=message) as caught:
        series(client)
    assert "secret" not in str(caught.value)


def test_other_things_of_sqlalchemy_are_no_clients(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(UnsupportedClient, match="Engine"):
        series(connection)


def test_a_custom_fetch_gets_a_connection_and_the_table(engine: Engine) -> None:
    kairos = series(engine, "count")
    kairos.insert("a", 2, timestamp=T)
    kairos.insert("b", 3, timestamp=T + 60)
    calls = []

    def fetch(connection: Any, table: Any, name: str, interval: str, *times: int) -> Any:
        calls.append((name, interval, times))
        query = sqlalchemy.select(table.c.i_time, table.c.count * 10).where(
            table.c.name == name, table.c.interval == interval
        )
        return {i_time: {None: count} for i_time, count in connection.execute(query)}

    assert value_of(kairos, fetch=fetch) == 20
    assert kairos.series(["a", "b"], "minute", start=T, steps=2, fetch=fetch) == {T: 20, T + 60: 30}
    minute = T // 60
    assert calls == [
        ("a", "minute", (minute,)),
        ("a", "minute", (minute, minute + 1)),
        ("b", "minute", (minute, minute + 1)),
    ]
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("names", [499, 501, 1300])
def test_any_number_of_names_is_read(engine: Engine, names: int) -> None:
    kairos = series(engine)
    kairos.bulk_insert({T: {f"n{number}": [1] for number in range(names)}})
    assert value_of(kairos, [f"n{number}" for number in range(names)]) == names
    assert len(kairos.list()) == names


def test_expire_deletes_what_is_out_of_the_window(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    intervals = {
        "minute": {"step": 60, "steps": 3},
        "day": {"step": "daily", "resolution": "1h", "steps": 2},
        "ever": {"step": 60},
    }
    kairos = series(engine, intervals=intervals)
    other = series(engine, intervals={"other": {"step": 60, "steps": 1}})
    now = T + 30
    monkeypatch.setattr("time.time", lambda: now)
    for ago in range(5):
        kairos.insert("a", timestamp=T - ago * 60)
        kairos.insert("b", timestamp=T - ago * 86400)
    other.insert("a", timestamp=T - 600)
    kairos.insert("a", timestamp=T, id="x")
    # Minutes: two of a, four of b. Days: three of b.
    assert kairos.expire("b") == 4 + 3
    assert kairos.expire() == 2
    assert kairos.expire() == 0
    found = kairos.series("a", "minute", end=T, steps=5)
    assert list(found.values()) == [0, 0, 1, 1, 2]
    assert sum(kairos.series("b", "ever", start=T - 86400 * 5, end=T).values()) == 5
    assert other.list() == ["a"]
    assert rows(engine, "SELECT COUNT(*) FROM count_ids") == [(2,)]
    now += 86400 * 3
    kairos.expire()
    assert rows(engine, "SELECT digest FROM count_ids") == [("queue",)]


def test_an_id_is_forgotten_when_its_time_is_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    kairos = series(engine, remember=100)
    now = float(T)
    monkeypatch.setattr("time.time", lambda: now)
    for later, total in ((0, 1), (99, 1), (101, 2), (150, 2), (202, 3)):
        now = T + later
        kairos.insert("a", timestamp=T, id="x")
        assert value_of(kairos) == total
