"""What is MongoDB's alone: older forms, indexes, transactions, sessions, ids and lost answers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("pymongo")

import pymongo
from pymongo.errors import (
    AutoReconnect,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.monitoring import CommandListener

import kairos
from kairos import mongo_backend, mongo_deployment
from kairos.exceptions import (
    DamagedData,
    InvalidType,
    InvalidValue,
    UnknownOutcome,
    UnsupportedClient,
    UnsupportedType,
)

pytestmark = pytest.mark.backends("mongo")

NOW = 1_700_000_000
MINUTE = {"minute": {"step": 60}}
THREE: dict[str, dict[str, Any]] = {
    "minute": {"step": 60, "steps": 120},
    "hour": {"step": 3600, "steps": 48, "resolution": 60},
    "day": {"step": "daily", "resolution": "1h"},
}
TYPES = ("series", "histogram", "count", "gauge", "set")


class Listener(CommandListener):
    """Write down the commands that a client sends."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    def started(self, event: Any) -> None:
        if event.command_name not in ("hello", "ping", "endSessions"):
            self.commands.append(event.command)

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass

    @property
    def names(self) -> list[str]:
        return [next(iter(command)) for command in self.commands]


@contextmanager
def listening(backend: Any) -> Iterator[tuple[Any, Listener]]:
    """Give a client, and the listener to its commands."""
    listener = Listener()
    with pymongo.MongoClient[Any](backend.url, event_listeners=[listener]) as client:
        yield client, listener


def database(backend: Any, type: str = "series") -> Any:
    return backend.client[backend.location(type)]


def total(series: Any, name: str, interval: str, start: int = NOW, end: int = NOW + 3600) -> Any:
    """Return the one row of a range."""
    (row,) = series.series(name, interval, start=start, end=end, collapse=True).values()
    return row


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets the clock of kairos; the servers have their own."""
    return lambda now: monkeypatch.setattr("time.time", lambda: float(now))


# --- clients ---------------------------------------------------------------------------------------------


def test_a_client_means_the_database_kairos(backend: Any) -> None:
    series = kairos.Timeseries(backend.client, type="count")
    assert series._client.name == "kairos"


def test_other_things_of_pymongo_are_no_clients(backend: Any) -> None:
    collection = backend.client["a"]["b"]
    for wrong in (collection, pymongo.AsyncMongoClient("mongodb://127.0.0.1:1")):
        with pytest.raises(UnsupportedClient, match="MongoClient or a Database"):
            kairos.Timeseries(wrong)


@pytest.mark.parametrize(
    ("path", "config", "name"),
    [("", {}, "kairos"), ("", {"database": "a"}, "a"), ("b", {"database": "a"}, "b")],
)
def test_the_url_names_the_database(path: str, config: Any, name: str, backend: Any) -> None:
    url = urlsplit(backend.url)._replace(path=f"/{path}").geturl()
    series = kairos.Timeseries(url, client_config={"appname": "x", **config})
    assert series._client.name == name
    assert series._client.client.options.pool_options.appname == "x"


def test_a_client_made_from_a_url_is_closed_with_its_series(backend: Any) -> None:
    series = kairos.Timeseries(backend.url)
    client = series._client.client
    client.admin.command("ping")
    del series
    gc.collect()
    with pytest.raises(pymongo.errors.InvalidOperation):
        client.admin.command("ping")


@pytest.mark.parametrize("name", ["$minute", "a..b", ".a", "system.x", "kairos.ids", "x" * 250])
def test_an_interval_must_be_able_to_name_a_collection(name: str, backend: Any) -> None:
    with pytest.raises(InvalidValue, match="interval"):
        backend.make("count", {name: {"step": 60}})


@pytest.mark.parametrize(
    "options",
    [
        {"escape_character": ""},
        {"escape_character": "ab"},
        {"escape_character": "."},
        {"escape_character": 1},
        {"collection_prefix": 1},
        {"collection_prefix": "a\0"},
        {"transactions": "yes"},
    ],
)
def test_options_are_checked(options: Any, backend: Any) -> None:
    with pytest.raises((InvalidValue, InvalidType), match=next(iter(options))):
        backend.make("count", MINUTE, **options)


def test_a_prefix_keeps_series_apart(backend: Any) -> None:
    db = database(backend)
    one = kairos.Timeseries(db, type="count", intervals=MINUTE, collection_prefix="one.")
    two = kairos.Timeseries(db, type="series", intervals=MINUTE, collection_prefix="two.")
    one.insert("a", 1, NOW, id="x")
    two.insert("a", "b", NOW, id="x")
    assert one.get("a", "minute", timestamp=NOW) == {NOW // 60 * 60: 1}
    assert two.get("a", "minute", timestamp=NOW) == {NOW // 60 * 60: ["b"]}
    assert {"one.minute", "two.minute", "one.kairos.ids", "two.kairos.ids"} == set(
        db.list_collection_names()
    )
    assert kairos.Timeseries(db, collection_prefix="two.").delete("a") == 1
    assert one.list() == ["a"]


# --- values ----------------------------------------------------------------------------------------------


def test_text_values_are_never_taken_for_escaped_ones(backend: Any) -> None:
    values = ["2\uffff5", "a\uffffb", "\ufffe", "\ufffee", "2.5", ""]
    for kind in ("series", "set", "histogram"):
        series = backend.make(kind, MINUTE)
        series.insert("a", values, NOW)
        (row,) = series.get("a", "minute", timestamp=NOW).values()
        assert sorted(row) == sorted(values)
    gauge = backend.make("gauge", MINUTE)
    for value in values:
        gauge.insert("a", value, NOW)
        assert gauge.get("a", "minute", timestamp=NOW) == {NOW // 60 * 60: value}


def test_values_never_become_operators(backend: Any) -> None:
    hostile = {"$each": [1, 2]}
    series = backend.make("series", MINUTE)
    gauge = backend.make("gauge", MINUTE)
    for number in range(2):
        for each in (series, gauge):
            each.insert("a", hostile, NOW, id=number)
            each.insert("a", hostile, NOW)
    assert total(series, "a", "minute") == [hostile] * 4
    assert total(gauge, "a", "minute") == hostile


def test_the_callers_value_is_copied(backend: Any) -> None:
    series = backend.make("series", MINUTE)
    value = {"a": 1}

    def entries() -> Iterator[Any]:
        for number in range(3):
            value["a"] = number
            yield NOW, "x", value

    series.bulk_insert(entries())
    assert total(series, "x", "minute") == [{"a": 0}, {"a": 1}, {"a": 2}]


@pytest.mark.parametrize("value", [{"a": 1}, (1, [2]), [[1]]])
def test_a_set_takes_only_what_reads_back_as_a_member(value: Any, backend: Any) -> None:
    series = backend.make("set", MINUTE)
    with pytest.raises(InvalidType):
        series.insert("a", [value], NOW)
    assert series.list() == []


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], object(), b"\xff", "\ud800"])
def test_a_histogram_takes_only_what_has_a_text(value: Any, backend: Any) -> None:
    series = backend.make("histogram", MINUTE)
    with pytest.raises((InvalidType, InvalidValue)):
        series.insert("a", [value], NOW)
    assert series.list() == []


def test_counts_beyond_64_bits_are_errors(backend: Any) -> None:
    series = backend.make("count", THREE)
    series.insert("a", 2**63 - 1, NOW)
    for id in (None, "x"):
        with pytest.raises(OperationFailure):
            series.insert("a", 1, NOW, id=id)
    assert total(series, "a", "day") == 2**63 - 1
    series.insert("b", 2**31 - 1, NOW)
    series.insert("b", 1, NOW)
    series.insert("b", 2**31, NOW, id="y")
    row = total(series, "b", "day")
    assert row == 2**32
    assert type(row) is int


# --- older forms -----------------------------------------------------------------------------------------

#: By type: a row of an older version, what is inserted today, and what both are together.
OLDER = {
    "series": (["2\uffff5", "a\uffffb", 3], "new", [2.5, "a.b", 3, "new"]),
    "histogram": ({"2": {"5": 1}, "3": 1, "a\uffffb": 2}, 2.5, {"2.5": 2, "3": 1, "a.b": 2}),
    "count": (7, 2, 9),
    "gauge": ("2\uffff5", "new", "new"),
    "set": (["2\uffff5", 1], 2.5, {2.5, 1}),
}


@pytest.mark.parametrize("kind", TYPES)
def test_buckets_as_text_are_merged_with_those_of_today(kind: str, backend: Any) -> None:
    older, value, together = OLDER[kind]
    intervals = {"day": {"step": "daily", "resolution": "1h"}, "month": {"step": "monthly"}}
    series = backend.make(kind, intervals)
    db = database(backend, kind)
    db.day.insert_one({"name": "a", "interval": "20231114", "resolution": 472222, "value": older})
    db.month.insert_one({"name": "a", "interval": "202311", "value": older})
    first = {"first": 1698796800, "last": 1698796800}
    assert series.properties("a")["month"] == first
    series.insert("a", value, NOW)
    for reading in (series.get("a", "month", timestamp=NOW), series.series("a", "month", end=NOW)):
        assert reading == {1698796800: together}
    assert series.get("a", "day", timestamp=NOW) == {472222 * 3600: together}
    assert total(series, ["a", "b"], "day", NOW - 86400, NOW + 86400) == together  # type: ignore[arg-type]
    assert series.properties("a")["month"] == first
    assert series.list() == ["a"]
    assert series.delete("a") == 4


def test_resolutions_as_text_are_merged_too(backend: Any) -> None:
    series = backend.make("series", {"year": {"step": "1y", "resolution": "monthly"}})
    documents = [{"resolution": "202311", "value": [1]}, {"resolution": 202311, "value": [2]}]
    for document in documents:
        document |= {"name": "a", "interval": NOW // (365 * 86400)}
    database(backend).year.insert_many(reversed(documents))
    assert series.get("a", "year", timestamp=NOW) == {1698796800: [1, 2]}


@pytest.mark.parametrize("transform", ["count", "rate", ["count", "rate"]])
@pytest.mark.parametrize("stages", [{}, {"condense": True}, {"collapse": True}], ids=str)
@pytest.mark.parametrize("names", ["a", ["a", "b"]], ids=str)
def test_pushed_counts_take_in_older_forms(
    names: Any, stages: Any, transform: Any, backend: Any
) -> None:
    series = backend.make("series", {"day": {"step": "daily", "resolution": "1h"}, **MINUTE})
    day, minute = database(backend).day, database(backend).minute
    for name in "ab":
        day.insert_one(
            {"name": name, "interval": "20231114", "resolution": 472222, "value": ["2\uffff5"]}
        )
        series.bulk_insert((NOW + 1000 * number, name, number) for number in range(20))
    day.insert_one({"name": "a", "interval": 20231114, "value": ["of a coarse interval once"]})
    minute.insert_one(
        {"name": "a", "interval": NOW // 60, "resolution": 5, "value": ["of a fine one"]}
    )

    def process(raw: Any) -> Any:
        return series._process_row(raw)

    for interval in ("day", "minute"):
        keywords = {"start": NOW - 86400, "end": NOW + 86400, "transform": transform, **stages}
        pushed = series.series(names, interval, **keywords)
        assert repr(pushed) == repr(series.series(names, interval, process_row=process, **keywords))


@pytest.mark.parametrize("kind", TYPES)
def test_one_row_of_an_older_form_does_not_keep_the_others_as_they_are(
    kind: str, backend: Any
) -> None:
    """Rows are looked at together, and treated together only where none stands for something else."""
    older, value, _ = OLDER[kind]
    series = backend.make(kind, MINUTE)
    series.bulk_insert([(NOW, "a", value), (NOW + 60, "a", value), (NOW + 120, "a", value)])
    document = {"name": "a", "interval": NOW // 60 + 1}
    database(backend, kind).minute.update_one(document, {"$set": {"value": older}})
    alone = series.get("a", "minute", timestamp=NOW)
    found = series.series("a", "minute", start=NOW, end=NOW + 120)
    first, second, third = found.values()
    assert repr(first) == repr(third) == repr(next(iter(alone.values())))
    assert repr(second) == repr(series._process_row(older))
    own = series.series("a", "minute", start=NOW, end=NOW + 120, process_row=repr)
    assert own == {NOW // 60 * 60 + 60 * i: repr(each) for i, each in enumerate(_raw(backend, kind))}


def _raw(backend: Any, kind: str) -> list[Any]:
    found = database(backend, kind).minute.find(sort=[("interval", 1)])
    return [document["value"] for document in found]


@pytest.mark.parametrize("kind", TYPES)
def test_reads_of_several_replies_give_what_those_of_one_do(
    kind: str, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = backend.make(kind, {"hour": {"step": 3600, "resolution": 60}, **MINUTE})
    value = OLDER[kind][1]
    # Those of one name do not follow each other in time.
    series.bulk_insert((NOW + 60 * (index * 7 % 50), "abc"[index % 3], value) for index in range(50))
    reads: list[dict[str, Any]] = [
        {"name": name, "interval": interval, **stages}
        for name in ("a", ["c", "a", "b"])
        for interval in ("hour", "minute")
        for stages in ({}, {"condense": True}, {"transform": "count"})
    ]

    def answers() -> list[str]:
        return [repr(series.series(start=NOW, end=NOW + 3600, **read)) for read in reads]

    at_once = answers()
    monkeypatch.setattr(mongo_backend, "_BATCH", 4)
    assert answers() == at_once


def test_nested_keys_make_way_for_todays(backend: Any) -> None:
    """The value 2 and the path to 2.5 want the same field."""
    series = backend.make("histogram", THREE)
    db = database(backend, "histogram")
    nested = {"2": {"5": 1, "7": {"1": 1}}, "3": 1}
    for name, path in (("minute", {}), ("hour", {"resolution": NOW // 60})):
        bucket = {"minute": NOW // 60, "hour": NOW // 3600}[name]
        db[name].insert_one({"name": "a", "interval": bucket, **path, "value": nested})
    series.insert("a", [2, 2.5], NOW)
    series.insert("a", 2, NOW, id="x")
    series.bulk_insert({NOW: {"a": [2, 2], "b": [1]}})
    expected = {"2.5": 2, "2.7.1": 1, "3": 1, "2": 4}
    assert total(series, "a", "minute") == expected
    assert total(series, "a", "hour") == expected
    assert total(series, "a", "day") == {"2.5": 1, "2": 4}


def test_the_lookup_ignores_what_another_configuration_left(backend: Any) -> None:
    fine = backend.make("count", {"minute": {"step": 60, "resolution": 20}})
    coarse = backend.make("count", MINUTE)
    fine.insert("a", 1, NOW)
    coarse.insert("a", 10, NOW)
    fine.insert("a", 1, NOW)
    coarse.insert("a", 10, NOW)
    assert total(fine, "a", "minute") == 2
    assert total(coarse, "a", "minute") == 20


# --- retention -------------------------------------------------------------------------------------------


def test_expire_from_is_the_second_of_the_data(backend: Any, at: Any) -> None:
    at(NOW)
    series = backend.make("count", {"minute": {"step": 60, "steps": 10}, "hour": {"step": 3600}})
    series.insert("in", 1, NOW - 100)
    series.insert("out", 1, NOW - 6000)
    series.insert("out", 1, NOW - 6000, id="x")
    series.insert("future", 1, 10**12)
    db = database(backend, "count")
    found = {
        each["name"]: each["expire_from"]
        for each in db.minute.find({"name": {"$ne": "future"}}, {"name": 1, "expire_from": 1})
    }
    moment = datetime.fromtimestamp(NOW, timezone.utc).replace(tzinfo=None)
    assert found["in"] == moment - timedelta(seconds=100)
    # It goes when the retention of 600 seconds has passed since then: 60 seconds from now.
    assert found["out"] == moment - timedelta(seconds=540)
    assert db.minute.count_documents({"expire_from": {"$exists": False}}) == 0
    assert db.hour.count_documents({"expire_from": {"$exists": True}}) == 0


def test_a_month_in_the_window_is_never_stored_as_expired(backend: Any, at: Any) -> None:
    """A step of a month counts 30 days, and the month may be longer."""
    last_of_january = 1706659200  # January 31, 2024
    at(last_of_january + 80_000)
    series = backend.make("count", {"month": {"step": "monthly", "steps": 1}})
    series.insert("a", 1, 1704067200)
    (document,) = database(backend, "count").month.find()
    expires = document["expire_from"].replace(tzinfo=timezone.utc) + timedelta(days=30)
    assert expires.timestamp() > last_of_january + 80_000


# --- indexes ---------------------------------------------------------------------------------------------


def indexes(collection: Any) -> dict[str, Any]:
    return {name: dict(each) for name, each in collection.index_information().items()}


def test_indexes_are_made_once_and_by_writes_only(backend: Any) -> None:
    location = backend.location("count")
    with listening(backend) as (client, listener):
        for number in range(3):
            series = kairos.Timeseries(client[location], type="count", intervals=THREE)
            if not number:
                assert series.get("a", "minute") != {}
                assert series.list() == []
                assert series.delete("a") == 0
                assert "createIndexes" not in listener.names
            series.insert("a", 1, NOW)
        assert listener.names.count("createIndexes") == len(THREE)
    with listening(backend) as (client, listener):
        kairos.Timeseries(client[location], type="count", intervals=THREE).insert("a", 1, NOW)
        assert listener.names.count("createIndexes") == len(THREE)
    found = indexes(database(backend, "count").minute)
    assert found["name_1_interval_1_resolution_1"]["unique"]
    assert found["expire_from_1"]["expireAfterSeconds"] == 7200
    assert "expire_from_1" not in indexes(database(backend, "count").day)


def test_indexes_come_back_when_the_collection_was_dropped(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_deployment, "_VALID", 0.0)
    series = backend.make("count", THREE)
    series.insert("a", 1, NOW)
    db = database(backend, "count")
    db.minute.drop()
    series.insert("a", 1, NOW)
    assert set(indexes(db.minute)) == {"_id_", "name_1_interval_1_resolution_1", "expire_from_1"}


@pytest.mark.parametrize("name", [None, "another"])
def test_another_expiry_is_changed(name: str | None, backend: Any) -> None:
    db = database(backend, "count")
    db.minute.create_index(
        "expire_from", expireAfterSeconds=100, **({"name": name} if name else {})
    )
    backend.make("count", THREE).insert("a", 1, NOW)
    found = indexes(db.minute)
    assert found[name or "expire_from_1"]["expireAfterSeconds"] == 7200
    assert found["name_1_interval_1_resolution_1"]["unique"]


def test_an_index_that_cannot_expire_is_a_warning(backend: Any) -> None:
    db = database(backend, "count")
    db.minute.create_index([("expire_from", 1)], name="expire_from_1", sparse=True, unique=True)
    series = backend.make("count", THREE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        series.insert("a", 1, NOW)
        series.insert("a", 1, NOW)
    assert total(series, "a", "minute") == 2
    expiry = indexes(db.minute)["expire_from_1"].get("expireAfterSeconds")
    # Newer servers can make a TTL index of it.
    assert expiry == 7200 or [
        str(each.message) for each in caught if "expire_from" in str(each.message)
    ]


#: By type: rows of two documents of one bucket, and what both are together.
DUPLICATES = {
    "series": ([1, "2\uffff5"], ["a\uffffb"], [1, 2.5, "a.b"]),
    "histogram": ({"2": {"5": 1}, "3": 1}, {"2\uffff5": 1}, {"2.5": 2, "3": 1}),
    "count": (7, 2, 9),
    "gauge": ("old", "2\uffff5", 2.5),
    "set": ([1, "2\uffff5"], [2.5], {1, 2.5}),
}


@pytest.mark.parametrize("kind", TYPES)
def test_duplicates_of_the_original_are_merged(kind: str, backend: Any) -> None:
    one, other, together = DUPLICATES[kind]
    db = database(backend, kind)
    for row in (one, other):
        db.minute.insert_one({"name": "a", "interval": NOW // 60, "value": row})
    series = backend.make(kind, {"minute": {"step": 60, "steps": 10}})
    with pytest.warns(
        UserWarning, match=r"minute holds several documents for one bucket"
    ) as caught:
        series.insert("b", 5, NOW)
    assert len(caught) == 1
    series.insert("b", 5, NOW)
    found = indexes(db.minute)
    assert "unique" not in found["name_1_interval_1_resolution_1"]
    assert found["expire_from_1"]["expireAfterSeconds"] == 600
    assert total(series, "a", "minute") == together


def test_a_plain_index_is_lived_with(backend: Any) -> None:
    db = database(backend, "count")
    db.minute.create_index([("name", 1), ("interval", 1), ("resolution", 1)])
    series = backend.make("count", MINUTE)
    with pytest.warns(UserWarning, match="is not unique"):
        series.insert("a", 1, NOW)
    assert total(series, "a", "minute") == 1


def test_a_series_without_intervals_finds_the_collections_of_kairos(backend: Any) -> None:
    db = database(backend, "count")
    backend.make("count", MINUTE).insert("a", 1, NOW)
    db.older.create_index([("interval", 1), ("resolution", 1), ("name", 1)])
    db.older.insert_one({"name": "b", "interval": 1, "resolution": 1, "value": 1})
    db.somebodys.create_index([("name", 1)])
    db.somebodys.insert_one({"name": "c", "interval": 1})
    series = kairos.Timeseries(db, type="count")
    assert series.list() == ["a", "b"]
    assert [series.delete(name) for name in "abc"] == [1, 1, 0]


def test_delete_all_leaves_what_is_somebody_elses(backend: Any) -> None:
    db = database(backend, "count")
    db.minute.insert_one({"user": 1})
    series = backend.make("count", MINUTE)
    series.insert("a", 1, NOW)
    assert series.delete_all() == 1
    assert db.minute.count_documents({}) == 1


# --- transactions ----------------------------------------------------------------------------------------


def is_set(backend: Any) -> bool:
    """Tell whether the deployment has transactions."""
    return bool(backend.name == "mongo-replicaset")


def damage(backend: Any) -> None:
    """Put something into a bucket of 'a' that no count can be added to."""
    bucket = {"interval": NOW // 3600, "resolution": NOW // 60}
    database(backend, "count").hour.insert_one({"name": "a", **bucket, "value": "damaged"})


@pytest.mark.parametrize("bulk", [False, True])
def test_an_insert_is_all_or_nothing_where_there_are_transactions(bulk: bool, backend: Any) -> None:
    damage(backend)
    series = backend.make("count", THREE)
    place = r"collection 'hour', document {'name': 'a', 'interval': 472222"
    write = (
        (lambda: series.bulk_insert({NOW: {"a": [1, 2]}}))
        if bulk
        else lambda: series.insert("a", 1, NOW)
    )
    with pytest.raises(DamagedData, match=place):
        write()
    if is_set(backend):
        assert total(series, "a", "minute") == 0
    assert total(series, "a", "day") == 0
    with pytest.raises(DamagedData, match=place):
        series.get("a", "hour", timestamp=NOW)


def test_commands_of_an_insert(backend: Any) -> None:
    """One update for each collection, and a commit where there are transactions."""
    location = backend.location("count")
    for transactions in (None, False):
        with listening(backend) as (client, listener):
            series = kairos.Timeseries(
                client[location], type="count", intervals=THREE, transactions=transactions
            )
            series.insert("a", 1, NOW)
            listener.commands.clear()
            series.insert("a", 1, NOW)
            commit = ["commitTransaction"] if is_set(backend) and transactions is None else []
            assert listener.names == ["update"] * 3 + commit
            one = kairos.Timeseries(
                client[location], type="count", intervals={"minute": THREE["minute"]}
            )
            listener.commands.clear()
            one.insert("a", 1, NOW)
            assert listener.names == ["update"]
            assert "startTransaction" not in listener.commands[0]


def test_transactions_can_be_demanded(backend: Any) -> None:
    series = backend.make("count", THREE, transactions=True)
    if is_set(backend):
        series.insert("a", 1, NOW)
        assert total(series, "a", "day") == 1
    else:
        with pytest.raises(UnsupportedType, match="transactions are demanded"):
            series.insert("a", 1, NOW)
        assert series.list() == []


def test_the_callers_transaction_decides(backend: Any) -> None:
    if not is_set(backend):
        pytest.skip("a standalone server has no transactions")
    series = backend.make("count", THREE)
    series.insert("a", 1, NOW, id="first")  # a transaction that is under way cannot see new collections
    for commit in (False, True):
        with backend.client.start_session() as session:
            session.start_transaction()
            series.insert("a", 1, NOW, session=session)
            series.insert("b", 1, NOW, session=session, id="x")
            series.insert("b", 1, NOW, session=session, id="x")
            series.bulk_insert({NOW: {"a": [1, 1]}}, session=session)
            assert total(series, "a", "minute") == 1
            if commit:
                session.commit_transaction()
            else:
                session.abort_transaction()
    for interval in THREE:
        assert total(series, "a", interval) == 4
        assert total(series, "b", interval) == 1
    series.insert("b", 1, NOW, id="x")
    assert total(series, "b", "minute") == 1


def test_a_session_without_a_transaction_will_do(backend: Any) -> None:
    series = backend.make("count", THREE)
    with backend.client.start_session() as session:
        series.insert("a", 1, NOW, session=session)
        for _ in range(2):
            series.insert("a", 1, NOW, session=session, id="x")
    assert total(series, "a", "day") == 2


def test_only_a_session_is_a_session(backend: Any) -> None:
    with pytest.raises(InvalidType, match="ClientSession"):
        backend.make("count", MINUTE).insert("a", 1, NOW, session="mine")


# --- ids -------------------------------------------------------------------------------------------------

#: With transactions where there are some, and as on a standalone server.
modes = pytest.mark.parametrize("transactions", [None, False], ids=["automatic", "none"])


@modes
@pytest.mark.parametrize("kind", TYPES)
def test_an_event_counts_once_in_the_buckets_of_its_first_delivery(
    kind: str, transactions: Any, backend: Any
) -> None:
    series = backend.make(kind, THREE, transactions=transactions)
    values = {"count": 5, "histogram": ["a", "b", "a"], "gauge": "a"}.get(kind, ["a", 2.5])
    series.insert("a", values, NOW, id="x")
    for later in (0, 70, 4000, 90_000):
        series.insert("a", values, NOW + later, id="x")
        series.bulk_insert([(NOW + later, "a", values, "x")] * 2)
    for interval in THREE:
        row = total(series, "a", interval, NOW - 100_000, NOW + 100_000)
        assert row == {
            "count": 5,
            "histogram": {"a": 2, "b": 1},
            "gauge": "a",
            "series": ["a", 2.5],
            "set": {"a", 2.5},
        }.get(kind)
    series.insert("a", values, NOW, id="y")
    series.insert("b", values, NOW, id="x")
    assert series.list() == ["a", "b"]
    if kind == "count":
        assert total(series, "a", "day") == 10


@modes
def test_an_id_is_forgotten_in_time(transactions: Any, backend: Any, at: Any) -> None:
    series = backend.make("count", MINUTE, remember=1000, transactions=transactions)
    for moment, counted in ((NOW, 1), (NOW + 999, 1), (NOW + 1000, 2), (NOW + 1500, 2)):
        at(moment)
        series.insert("a", 1, NOW, id="x")
        assert total(series, "a", "minute") == counted


@modes
def test_delete_all_forgets_the_ids(transactions: Any, backend: Any) -> None:
    series = backend.make("count", MINUTE, transactions=transactions)
    for _ in range(2):
        series.insert("a", 1, NOW, id="x")
        assert total(series, "a", "minute") == 1
        assert series.delete_all() == 1


class Crash(BaseException):
    """End a delivery in the middle, as the end of its process would."""


@modes
@pytest.mark.parametrize("step", range(1, 9))
def test_a_delivery_that_breaks_off_is_completed_by_the_next(
    step: int, transactions: Any, backend: Any
) -> None:
    location = backend.location("count")
    with pymongo.MongoClient[Any](backend.url) as client:
        series = kairos.Timeseries(
            client[location], type="count", intervals=THREE, transactions=transactions
        )
        series.insert("warm", 1, NOW, id="warm")
        steps = 0
        deliver = series._deliver
        pin = series._pin

        def counted(function: Any) -> Any:
            def call(*args: Any, **keywords: Any) -> Any:
                nonlocal steps
                steps += 1
                if steps == step:
                    raise Crash
                result = function(*args, **keywords)
                steps += 1
                if steps == step:
                    raise Crash
                return result

            return call

        series._deliver, series._pin = counted(deliver), counted(pin)
        try:
            series.bulk_insert([(NOW, "a", 1, "x"), (NOW, "a", 1, "y")])
        except Crash:
            pass
        else:
            assert step > 6
        # A client that died leaves its transaction to the server, or to its own end here.
    again = backend.make("count", THREE, transactions=transactions)
    for _ in range(2):
        again.bulk_insert([(NOW + 70, "a", 1, "x"), (NOW + 70, "a", 1, "y"), (NOW, "a", 1, "z")])
    for interval in THREE:
        assert total(again, "a", interval, NOW - 60, NOW + 120) == 3


def test_what_was_begun_without_transactions_is_completed_with_them(backend: Any) -> None:
    plain = backend.make("count", THREE, transactions=False)
    deliver = plain._deliver

    def break_off(collection: Any, *args: Any, **keywords: Any) -> None:
        if collection.name == "hour":
            raise Crash
        deliver(collection, *args, **keywords)

    plain._deliver = break_off
    with pytest.raises(Crash):
        plain.insert("a", 1, NOW, id="x")
    series = backend.make("count", THREE)
    for _ in range(2):
        series.insert("a", 1, NOW + 70, id="x")
    for interval in THREE:
        assert total(series, "a", interval) == 1


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims be tidied at every event, and as soon as they are done."""
    monkeypatch.setattr(mongo_backend, "_TIDY_EVERY", 1)
    monkeypatch.setattr(mongo_backend, "_TIDY_FROM", 3)
    monkeypatch.setattr(mongo_backend, "_LEASE", 0.0)


def test_claims_in_documents_are_tidied(backend: Any, eager: None, monkeypatch: Any) -> None:
    series = backend.make("count", THREE, transactions=False)
    # Whoever has no lease must start over; here it is the tidying alone that has none.
    tidy = series._tidy

    def tidy_now(*args: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(mongo_backend, "_LEASE", -1.0)
            tidy(*args)

    series._tidy = tidy_now
    monkeypatch.setattr(mongo_backend, "_LEASE", 60.0)
    for number in range(20):
        series.insert("a", 1, NOW, id=number)
    for document in database(backend, "count").day.find():
        assert 0 < len(document["ids"]) < 5
    for number in range(20):
        series.insert("a", 1, NOW, id=number)
    assert total(series, "a", "day") == 20


def test_a_delivery_that_is_late_starts_over(backend: Any, monkeypatch: Any) -> None:
    series = backend.make("count", THREE, transactions=False)
    monkeypatch.setattr(mongo_backend, "_LEASE", -1.0)
    with pytest.raises(OperationFailure, match="late"):
        series.insert("a", 1, NOW, id="x")
    assert series.list() == []
    pin, leases = series._pin, iter([60.0])

    def slowly(*args: Any) -> Any:
        pins = pin(*args)
        monkeypatch.setattr(mongo_backend, "_LEASE", next(leases, 60.0) if steps else -1.0)
        steps.append(1)
        return pins

    steps: list[int] = []
    series._pin = slowly
    series.insert("a", 1, NOW + 70, id="x")
    assert len(steps) == 2
    for interval in THREE:
        assert total(series, "a", interval) == 1
    # The second of the first delivery stays, although nothing came of it.
    assert total(series, "a", "minute", NOW, NOW) == 1


# --- lost answers ----------------------------------------------------------------------------------------


@pytest.fixture
def behind(backend: Any, proxied: Any) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Return a function that makes a series and the proxy that it reaches its server by."""
    clients: list[Any] = []

    def make(intervals: Any = None, **options: Any) -> tuple[Any, Any]:
        host, port = backend.client.primary or backend.client.address
        proxy = proxied(f"mongodb://{host}:{port}")
        client = pymongo.MongoClient[Any](
            proxy.url, directConnection=True, serverSelectionTimeoutMS=1000, **options
        )
        clients.append(client)
        series = kairos.Timeseries(
            client[backend.location("count")], type="count", intervals=intervals or THREE
        )
        series.insert("warm", 1, NOW)
        return series, proxy

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("strike", ["drop_replies", "cut_request"])
def test_a_lost_answer_never_counts_twice(
    strike: str, retry: bool, backend: Any, behind: Any
) -> None:
    series, proxy = behind(MINUTE, retryWrites=retry)
    arguments = (10,) if strike == "cut_request" else ()
    getattr(proxy, strike)(*arguments, 1, match=b"update")
    if is_set(backend) and retry:
        series.insert("a", 1, NOW)
        expected = 1
    else:
        with pytest.raises(UnknownOutcome, match="'minute'") as caught:
            series.insert("a", 1, NOW)
        assert isinstance(caught.value, AutoReconnect)
        assert isinstance(caught.value.__cause__, AutoReconnect)
        assert not isinstance(caught.value.__cause__, UnknownOutcome)
        expected = 1 if strike == "drop_replies" else 0
    proxy.pass_on()
    assert total(backend.make("count", MINUTE), "a", "minute") == expected


@pytest.mark.parametrize("match", [b"minute", b"hour", b"commitTransaction"])
def test_a_transaction_survives_a_lost_answer(match: bytes, backend: Any, behind: Any) -> None:
    if not is_set(backend):
        pytest.skip("a standalone server has no transactions")
    series, proxy = behind()
    proxy.drop_replies(1, match=match)
    series.insert("a", 1, NOW)
    assert proxy.strikes == 1
    for interval in THREE:
        assert total(series, "a", interval) == 1


def test_a_commit_that_is_never_answered_is_unknown(
    backend: Any, behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_set(backend):
        pytest.skip("a standalone server has no transactions")
    monkeypatch.setattr(mongo_backend, "_PATIENCE", 0.5)
    series, proxy = behind()
    proxy.drop_replies(match=b"commitTransaction")
    with pytest.raises(UnknownOutcome, match="'minute', 'hour', 'day'") as caught:
        series.insert("a", 1, NOW)
    assert isinstance(caught.value.__cause__, PyMongoError)
    proxy.pass_on()
    assert total(series, "a", "day") == 1


def test_errors_before_anything_was_sent_are_the_drivers(backend: Any, behind: Any) -> None:
    series, proxy = behind()
    proxy.refuse()
    with pytest.raises(PyMongoError):
        series.insert("a", 1, NOW)  # on a connection that is only found to be closed
    with pytest.raises(ServerSelectionTimeoutError) as caught:
        series.insert("a", 1, NOW)
    assert not isinstance(caught.value, UnknownOutcome)
    proxy.pass_on()
    assert series.list() == ["warm"]


@pytest.mark.parametrize(
    ("cause", "sent"),
    [(ConnectionRefusedError(), False), (ConnectionResetError(), True), (None, True)],
)
def test_a_refused_connection_took_nothing_unless_it_was_a_retry(
    cause: Any, sent: bool, backend: Any
) -> None:
    series = backend.make("count", MINUTE)
    series.insert("a", 1, NOW)
    error = AutoReconnect("gone")
    error.__cause__ = cause
    assert series._was_sent(error) is (sent or is_set(backend))
    assert not series._was_sent(ServerSelectionTimeoutError("none"))


def test_a_part_of_an_insert_makes_every_error_unknown(backend: Any, behind: Any) -> None:
    """What comes after a part has been written must not be taken for "nothing was written"."""
    series, proxy = behind()
    series._transactions = False
    deliver = series._deliver

    def cut_off(collection: Any, *args: Any, **keywords: Any) -> None:
        if collection.name == "hour":
            proxy.refuse()
        deliver(collection, *args, **keywords)

    series._deliver = cut_off
    with pytest.raises(UnknownOutcome):
        series.insert("a", 1, NOW)
    proxy.pass_on()
    assert total(series, "a", "minute") == 1
    assert total(series, "a", "hour") == 0


# --- reading ---------------------------------------------------------------------------------------------


def test_a_read_is_one_cursor(backend: Any) -> None:
    location = backend.location("series")
    series = backend.make("series", THREE)
    for name in "abc":
        series.bulk_insert((NOW + 100 * number, name, number) for number in range(100))
    with listening(backend) as (client, listener):
        series = kairos.Timeseries(client[location], intervals=THREE)
        for call in (series.get, series.series):
            for interval in THREE:
                for transform in (None, "count", "mean"):
                    for names in ("a", ["a", "b", "c"]):
                        listener.commands.clear()
                        call(names, interval, transform=transform)
                        assert len(listener.commands) == 1


def test_a_custom_fetch_gets_what_the_driver_takes(backend: Any) -> None:
    series = backend.make("series", THREE)
    series.insert("a", [1, 2], NOW)
    series.insert("b", 3, NOW)
    asked: list[Any] = []

    def fetch(handle: Any, *, spec: Any, sort: Any, method: str) -> Any:
        asked.append((handle.name, method))
        assert sort[0] == ("interval", 1)
        if method == "find_one":
            return handle.find_one(spec)
        return handle.find(spec, sort=sort)

    minute = NOW // 60 * 60
    assert series.get("a", "minute", timestamp=NOW, fetch=fetch) == {minute: [1, 2]}
    assert series.get("c", "minute", timestamp=NOW, fetch=fetch) == {minute: []}
    assert asked == [("minute", "find_one")] * 2
    asked.clear()
    assert series.get(["a", "b"], "minute", timestamp=NOW, fetch=fetch) == {minute: [1, 2, 3]}
    assert series.get("a", "hour", timestamp=NOW, fetch=fetch) == {minute: [1, 2]}
    assert series.series("a", "day", end=NOW, fetch=fetch, collapse=True) == {1699920000: [1, 2]}
    assert asked == [("minute", "find")] * 2 + [("hour", "find"), ("day", "find")]


@pytest.mark.parametrize(("interval", "field"), [("minute", "interval"), ("hour", "resolution")])
def test_a_custom_fetch_must_say_where_documents_belong(
    interval: str, field: str, backend: Any
) -> None:
    series = backend.make("series", THREE)
    documents = [{"interval": 1, "value": [1]}] if interval == "hour" else [{"value": [1]}]
    with pytest.raises(InvalidValue, match=f"fetch must return documents with '{field}'"):
        series.series("a", interval, start=NOW, fetch=lambda handle, **_: documents)


@pytest.mark.parametrize("transform", [None, "count"])
@pytest.mark.parametrize("value", [5, "text", None, {"a": 1}])
def test_damage_is_named(value: Any, transform: Any, backend: Any) -> None:
    series = backend.make("series", THREE)
    document = {"name": "a", "interval": NOW // 3600, "resolution": NOW // 60, "value": value}
    database(backend).hour.insert_one(document)
    place = r"collection 'hour', document {'name': 'a', 'interval': 472222, 'resolution': 28333333}"
    for condense in (False, True):
        with pytest.raises(DamagedData, match=place):
            series.series("a", "hour", end=NOW, transform=transform, condense=condense)
    database(backend).hour.update_one({}, {"$unset": {"value": 1}})
    with pytest.raises(DamagedData, match=place):
        series.get("a", "hour", timestamp=NOW, transform=transform)


def test_codecs_of_the_database_are_used(backend: Any) -> None:
    from bson import CodecOptions
    from bson.raw_bson import RawBSONDocument

    location = backend.location("gauge")
    aware = backend.client.get_database(location, codec_options=CodecOptions(tz_aware=True))
    moment = datetime(2024, 1, 1, tzinfo=timezone.utc)
    gauge = kairos.Timeseries(aware, type="gauge", intervals=MINUTE)
    gauge.insert("a", moment, NOW)
    assert total(gauge, "a", "minute") == moment
    raw = backend.client.get_database(location, codec_options=CodecOptions(RawBSONDocument))
    assert kairos.Timeseries(raw, type="gauge", intervals=MINUTE).list() == ["a"]
