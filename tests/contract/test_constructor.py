"""The constructor: one factory for all backends and types."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

import kairos
from kairos import Timeseries, timeseries
from kairos.exceptions import KairosException

from .store import BOTH, MINUTE, TYPES, Store

PREFIXES = {"redis": "Redis", "mongo": "Mongo", "sql": "Sql"}


@pytest.mark.parametrize("kind", TYPES)
def test_the_class_is_that_of_backend_and_type(store: Store, kind: str) -> None:
    series = store.make(kind)
    name = PREFIXES[store.kind]
    assert type(series).__name__ == f"{name}{kind.title()}"
    bases = {base.__name__ for base in type(series).__mro__}
    assert {f"{name}Backend", kind.title(), "Timeseries"} <= bases
    assert isinstance(series, (Timeseries, getattr(timeseries, kind.title())))
    assert kairos.Timeseries is timeseries.Timeseries


def test_the_type_is_optional(store: Store) -> None:
    for keywords in ({}, {"type": None}):
        series = Timeseries(store.make()._client, intervals=MINUTE, **keywords)
        assert isinstance(series, timeseries.Series)


@pytest.mark.backends("redis", "mongo")
def test_a_subclass_of_a_client_works(store: Store) -> None:
    kind = type(store.client)
    mine = type("Mine", (kind,), {})
    if store.kind == "mongo":
        client = mine(store.backend.url)
    elif store.name in ("redis-cluster", "fakeredis"):
        pytest.skip("made in a way of its own")
    else:
        client = mine(connection_pool=store.client.connection_pool)
    try:
        series = store.backend.make("count", MINUTE, client=client)
        series.insert("a", 3, timestamp=90)
        assert series.get("a", "minute", timestamp=90) == {60: 3}
        assert type(series).__name__ == f"{PREFIXES[store.kind]}Count"
    finally:
        if store.kind == "mongo":
            client.close()


def test_a_url_is_as_good_as_a_client(store: Store) -> None:
    if store.name in ("fakeredis", "sqlite-memory", "redis-cluster", "redis-sentinel", "pgbouncer"):
        pytest.skip("its URL alone does not lead there")
    made = store.make("count")
    options: dict[str, Any] = {"type": "count", "intervals": BOTH}
    url = store.backend.url
    if store.kind == "redis":
        options["prefix"] = made._prefix
    elif store.kind == "mongo":
        options["client_config"] = {"database": store.mongo_database(made).name}
    else:
        options["table_name"] = store.sql_table(made)
    series = Timeseries(url, **options)
    try:
        series.insert("a", 3, timestamp=90)
        assert made.get("a", "minute", timestamp=90) == {60: 3}
        assert type(series) is type(made)
    finally:
        if store.kind == "sql":
            series._client.dispose()


@pytest.mark.backends("redis")
def test_a_prefix_ends_with_a_colon(store: Store) -> None:
    one = store.make("count", prefix="app")
    two = store.make("count", prefix="app:")
    one.insert("a", 3, timestamp=90)
    assert two.get("a", "minute", timestamp=90) == {60: 3}
    assert one._prefix.endswith("app:")
    assert not one._prefix.endswith("::")
    for none in ("", None):
        assert Timeseries(store.client, intervals=MINUTE, prefix=none)._prefix == ""


@pytest.mark.backends("mongo", "sql")
def test_a_prefix_is_accepted_and_ignored(store: Store) -> None:
    one = store.make("count", prefix="app")
    two = store.make("count")
    one.insert("a", 3, timestamp=90)
    assert two.get("a", "minute", timestamp=90) == {60: 3}


def test_configurations_stay_as_they_are(store: Store) -> None:
    intervals = {"minute": {"step": 60, "steps": 5}, "day": {"step": "daily", "resolution": "1h"}}
    before = copy.deepcopy(intervals)
    series = store.make("count", intervals)
    series.insert("a", 3)
    series.series("a", "day")
    assert intervals == before
    another = store.backend.make("count", series._intervals)
    assert another.get("a", "minute") == series.get("a", "minute")


def test_what_code_in_the_wild_reads(store: Store) -> None:
    series = store.make(
        "count", {"minute": {"step": 60, "steps": 5}, "day": {"step": "daily", "resolution": "1h"}}
    )
    minute, day = series._intervals["minute"], series._intervals["day"]
    assert isinstance(minute, Mapping)
    keys = "interval step steps resolution i_calc r_calc expire ttl coarse"
    assert set(minute) == set(keys.split())
    assert (minute["interval"], minute["step"], minute["steps"]) == ("minute", 60, 5)
    assert (minute["resolution"], minute["expire"], minute["coarse"]) == (60, 300, True)
    assert minute["i_calc"].to_bucket(90) == minute["r_calc"].to_bucket(90) == 1
    assert minute["ttl"]() == 300
    assert (day["step"], day["resolution"], day["coarse"]) == ("daily", 3600, False)
    assert (day["steps"], day["expire"]) == (None, None)
    assert day["i_calc"].to_bucket(0) == 19700101
    assert day["r_calc"].to_bucket(7300) == 2
    with pytest.raises(KeyError):
        minute["nonsense"]


def test_equal_step_and_resolution_mean_coarse(store: Store) -> None:
    series = store.numbers("count", {"hour": {"step": "1h", "resolution": 3600}})
    series.insert("a", 3, timestamp=90)
    assert series.get("a", "hour", timestamp=90) == {0: 3}
    plain = store.numbers("count", {"hour": {"step": 3600}})
    assert plain.get("a", "hour", timestamp=90) == {0: 3}


@pytest.mark.parametrize(
    ("step", "resolution", "first", "second"),
    [
        (60, None, 60, None),
        ("60", None, 60, None),
        ("1min", "20s", 60, 80),
        ("2h", "1h", 0, 0),
        ("1d", "12h", 0, 0),
        ("1w", "1d", 0, 0),
        ("1m", "1w", 0, 0),
        ("1y", "1m", 0, 0),
        (3600.0, 60.0, 0, 60),
    ],
)
def test_steps_in_every_spelling(
    store: Store, step: Any, resolution: Any, first: int, second: int | None
) -> None:
    config = {"step": step} if resolution is None else {"step": step, "resolution": resolution}
    series = store.numbers("count", {"it": config})
    series.insert("a", 3, timestamp=95)
    at = first if second is None else second
    assert series.get("a", "it", timestamp=95) == {at: 3}
    assert series.series("a", "it", start=95, condense=True) == {first: 3}


def test_unknown_clients_are_import_errors() -> None:
    for client in (None, 5, object(), "nonsense", [], dict):
        with pytest.raises(ImportError, match="redis.*pymongo.*SQLAlchemy") as caught:
            Timeseries(client, intervals=MINUTE)
        assert isinstance(caught.value, KairosException)


@pytest.mark.backends("mongo")
def test_a_mongo_collection_prefix_lets_types_share_a_database(store: Store) -> None:
    made = store.make("count")
    database = store.mongo_database(made)
    found = {}
    for kind in TYPES:
        series = Timeseries(database, type=kind, intervals=BOTH, collection_prefix=f"{kind}.")
        series.insert("a", 3, timestamp=90)
        found[kind] = series
    assert sorted(database.list_collection_names()) == sorted(
        f"{kind}.{interval}" for kind in TYPES for interval in BOTH
    )
    assert found["count"].get("a", "minute", timestamp=90) == {60: 3}
    assert found["set"].delete_all() == 2
    assert found["series"].list() == ["a"]


@pytest.mark.backends("mongo")
def test_a_mongo_client_means_the_database_kairos(store: Store) -> None:
    series = Timeseries(store.client, type="count", intervals=MINUTE)
    assert store.mongo_database(series).name == "kairos"


@pytest.mark.backends("mongo")
def test_the_path_of_a_mongo_url_is_the_database(store: Store) -> None:
    made = store.make("count")
    made.insert("a", 3, timestamp=90)
    base, question, query = store.backend.url.partition("?")
    url = f"{base.rstrip('/')}/{store.mongo_database(made).name}{question}{query}"
    options: dict[str, Any] = {"client_config": {"database": "another"}}
    series = Timeseries(url, type="count", intervals=BOTH, **options)
    assert series.get("a", "minute", timestamp=90) == {60: 3}
    assert (
        store.mongo_database(Timeseries(base.rstrip("/") + "/" + question + query)).name == "kairos"
    )


@pytest.mark.backends("mongo")
def test_a_mongo_escape_character(store: Store) -> None:
    made = store.make("histogram")
    database = store.mongo_database(made)
    series = Timeseries(database, type="histogram", intervals=MINUTE, escape_character="\u2024")
    series.insert("a", 2.5, timestamp=90)
    assert series.get("a", "minute", timestamp=90) == {60: {"2.5": 1}}
    (document,) = database["minute"].find()
    assert document["value"] == {"2\u20245": 1}


NAMED_TYPES: dict[str, Any] = {
    "blob": b"\x00\xff",
    "bool": True,
    "boolean": False,
    "clob": "long text",
    "decimal": 5,
    "float": 2.5,
    "int": 5,
    "int64": 2**40,
    "integer": -5,
    "long": 2**40,
    "str": "caf\u00e9",
    "string": "text",
    "text": "text " * 100,
    "unicode": "\U0001f600",
}


def written_and_read(series: Any, value: Any) -> Any:
    """Return what a gauge gives back of a value, whether few or many rows are written at once."""
    series.insert("a", value, timestamp=90)
    names = [f"b{number}" for number in range(20)]
    series.bulk_insert([(90, name, value) for name in names])
    got, *others = (
        next(iter(series.get(name, "minute", timestamp=90).values())) for name in ("a", *names)
    )
    assert all(other == got and type(other) is type(got) for other in others)
    return got


@pytest.mark.backends("sql")
@pytest.mark.parametrize("value_type", NAMED_TYPES)
def test_sql_value_types_by_name(store: Store, value_type: str) -> None:
    series = store.make("gauge", value_type=value_type)
    value = NAMED_TYPES[value_type]
    assert written_and_read(series, value) == value
    assert store.make("series", value_type=value_type).get("a", "minute", timestamp=90) == {60: []}


@pytest.mark.backends("sql")
def test_sql_value_types_of_time(store: Store) -> None:
    import datetime

    values: dict[str, Any] = {
        "date": datetime.date(2013, 3, 5),
        "time": datetime.time(12, 34, 56),
        "datetime": datetime.datetime(2013, 3, 5, 12, 34, 56),  # as most columns are
    }
    for value_type, value in values.items():
        for given in (value_type, type(value)):
            series = store.make(
                "gauge", value_type=given, space=f"{value_type}{given == value_type}"
            )
            assert written_and_read(series, value) == value


@pytest.mark.backends("sql")
def test_sql_value_types_of_python_and_sqlalchemy(store: Store) -> None:
    import decimal

    import sqlalchemy

    values: list[tuple[Any, Any]] = [
        (float, 2.5),
        (int, 5),
        (str, "text"),
        (bool, True),
        (bytes, b"\xff"),
        (decimal.Decimal, decimal.Decimal(5)),
        (sqlalchemy.Integer, 5),
        (sqlalchemy.Integer(), 5),
        (sqlalchemy.Numeric(10, 2), decimal.Decimal("2.50")),
        (sqlalchemy.String(20), "text"),
        (sqlalchemy.Text, "text"),
        (sqlalchemy.LargeBinary, b"\x00"),
    ]
    for number, (value_type, value) in enumerate(values):
        series = store.make("gauge", value_type=value_type, space=f"v{number}")
        got = written_and_read(series, value)
        assert got == value
        assert isinstance(got, type(value))


@pytest.mark.backends("sql")
@pytest.mark.parametrize("value_type", ["nonsense", 5, object, "list"])
def test_sql_value_types_that_are_none(store: Store, value_type: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        store.make("gauge", value_type=value_type)
    assert isinstance(caught.value, KairosException)


@pytest.mark.backends("sql")
def test_a_sql_table_is_named_after_its_type(store: Store) -> None:
    for kind in TYPES:
        assert store.sql_table(Timeseries(store.client, type=kind, intervals=MINUTE)) == kind
