"""The recorded storage of the original, both ways: it is read, and the same is written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import timezone
from typing import Any

import pytest

from tests.contract import oracle
from tests.contract.conftest import Clock
from tests.contract.store import Store

from .golden import Case, cases, reads
from .stores import MongoStorage, RedisStorage, SqlStorage

Storage = Any


# --- what the original wrote is read -----------------------------------------------------------------


def renamed(names: Any, rename: Callable[[str], str]) -> Any:
    """Rename a name or each of several."""
    return [rename(name) for name in names] if isinstance(names, list) else rename(names)


def answer(series: Any, storage: Storage, call: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Make a recorded call."""
    if args:
        args = (renamed(args[0], storage.name), *args[1:])
    got = getattr(series, call)(*args, **kwargs)
    return list(got) if call == "iterate" else got


def check_reads(case: Case, storage: Storage) -> None:
    """Compare the answers to all recorded calls, types and order included."""
    series = storage.series()
    for call, args, kwargs, expected in reads(case):
        got = answer(series, storage, call, args, kwargs)
        if call == "list":
            expected = sorted(map(storage.name, expected))
            got = [name for name in got if name in expected]
        assert got == expected, (call, args, kwargs)
        assert shape(got) == shape(expected), (call, args, kwargs)


def shape(value: Any) -> Any:
    """Return a result with types in place of values; a mapping's own class does not matter."""
    if isinstance(value, Mapping):
        return {key: (type(key), shape(row)) for key, row in value.items()}
    if isinstance(value, (list, tuple)):
        return [shape(each) for each in value]
    if isinstance(value, set):
        return {each: type(each) for each in value}
    return type(value)


@pytest.mark.backends("=redis")
@pytest.mark.parametrize("case", cases("redis"))
def test_redis_is_read(store: Store, case: Case, clock: Clock) -> None:
    clock.now = case.now
    storage = RedisStorage(store, case)
    storage.put()
    check_reads(case, storage)


@pytest.mark.backends("=mongo")
@pytest.mark.parametrize("case", cases("mongo"))
def test_mongo_is_read(store: Store, case: Case, clock: Clock) -> None:
    clock.now = case.now

    def check() -> None:
        storage = MongoStorage(store, case)
        storage.put()
        check_reads(case, storage)

    once_more_if_expired(store, case, check)


@pytest.mark.backends("sqlite")
@pytest.mark.parametrize("case", cases("sqlite"))
def test_sqlite_is_read(store: Store, case: Case, clock: Clock) -> None:
    clock.now = case.now
    storage = SqlStorage(store, case)
    storage.put()
    check_reads(case, storage)


# --- what we write is what it would have written -----------------------------------------------------


@pytest.mark.backends("=redis")
@pytest.mark.parametrize("case", cases("redis", written_by="0.10.1"))
def test_redis_is_written(store: Store, case: Case, clock: Clock) -> None:
    clock.now = case.now
    storage = RedisStorage(store, case)
    write(case, storage)
    found, recorded = storage.take(), storage.recorded()
    lifetimes = storage.lifetimes()
    for insert in lost_by_the_original(case):
        (interval,) = case.intervals
        step = case.intervals[interval]["step"]
        bucket = oracle.bucket_of(oracle.parse(step), insert["timestamp"])
        start = f"{case.options.get('prefix', '')}:{insert['name']}:{interval}:{bucket}"
        late = [key for key in found if key.startswith(start)]
        assert late
        for key in late:
            del found[key]
            # Out of the window, it lives for one more step.
            nominal = oracle.NOMINAL.get(step) or oracle.parse(step)
            assert nominal - 5 <= lifetimes.pop(key) <= nominal
    assert found == recorded
    for key, seconds in lifetimes.items():
        expected = case.stored[key]["ttl"] if case.stored[key]["has_ttl"] else -1
        assert expected - 5 * (expected > 0) <= seconds <= expected, key


def write(case: Case, storage: Storage) -> None:
    """Repeat the inserts of a case."""
    series = storage.series()
    for insert in case.inserts:
        series.insert(**{**insert, "name": storage.name(insert["name"])})
    if case.bulk_insert:
        series.bulk_insert(
            OrderedDict(
                (at, OrderedDict((storage.name(name), values) for name, values in names))
                for at, names in case.bulk_insert
            )
        )


def lost_by_the_original(case: Case) -> list[dict[str, Any]]:
    """Return the inserts out of the window, which the original dropped on Redis."""
    if case.frozen_now is None:
        return []
    (config,) = case.intervals.values()
    step = oracle.parse(config["step"])
    seconds = oracle.NOMINAL.get(step) if isinstance(step, str) else step
    assert seconds is not None
    first = oracle.start_of(step, case.frozen_now) - config["steps"] * seconds
    return [insert for insert in case.inserts if insert["timestamp"] < first]


@pytest.mark.backends("=mongo")
@pytest.mark.parametrize("case", cases("mongo", written_by="0.10.1"))
def test_mongo_is_written(store: Store, case: Case, clock: Clock) -> None:
    clock.now = case.now

    def check() -> None:
        storage = MongoStorage(store, case)
        write(case, storage)
        found = storage.take()
        recorded = storage.recorded()
        assert sorted(found) == sorted(recorded)
        for collection, documents in recorded.items():
            (seconds,) = {config.get("steps") for config in case.intervals.values()}
            for document in documents:
                # Values keep their type; only the keys of histograms are escaped.
                if case.type != "histogram":
                    document["value"] = as_inserted(case, document["value"])
            expiry = [document.pop("expire_from", None) for document in documents]
            late = {insert["timestamp"] for insert in lost_by_the_original(case)}
            got = {identity(document): document for document in found[collection]}
            assert len(got) == len(found[collection])
            for document, expire_from in zip(documents, expiry, strict=True):
                written = got.pop(identity(document))
                ours = written.pop("expire_from", None)
                assert written == document
                assert shape(written) == shape(document)
                assert (ours is None) == (expire_from is None)
                if expire_from is not None and expire_from.timestamp() not in late:
                    assert ours.replace(tzinfo=timezone.utc) == expire_from
                elif ours is not None:
                    # Out of the window, it lives for one more step.
                    kept = expire_after(storage, collection)
                    left = ours.replace(tzinfo=timezone.utc).timestamp() + kept - clock.now
                    assert left == kept // seconds
            assert not got

    once_more_if_expired(store, case, check)


def expire_after(storage: MongoStorage, collection: str) -> int:
    """Return the seconds of the index that expires the documents of a collection."""
    (seconds,) = [
        int(index["expireAfterSeconds"])
        for index in storage.database[collection].list_indexes()
        if "expireAfterSeconds" in index
    ]
    return seconds


def identity(document: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells the documents of a collection apart."""
    return tuple(document.get(key) for key in ("name", "interval", "resolution"))


def as_inserted(case: Case, value: Any) -> Any:
    """Return a value of a document as it was inserted, where the original stored it as escaped text."""
    if isinstance(value, list):
        return [as_inserted(case, each) for each in value]
    if not isinstance(value, str):
        return value
    values = [insert["value"] for insert in case.inserts]
    (inserted,) = {each for each in values if str(each).replace(".", "\uffff") == value}
    return inserted


def once_more_if_expired(store: Store, case: Case, check: Callable[[], None]) -> None:
    """Run a check again when it fails on documents that MongoDB may have expired in the middle of it.

    What was recorded is long out of its window, and the server removes that once a minute.
    """
    try:
        check()
    except (AssertionError, KeyError):
        if case.frozen_now is None:
            raise
        database = MongoStorage(store, case).database
        for collection in database.list_collection_names():
            database[collection].delete_many({})
        check()


@pytest.mark.backends("sql")
@pytest.mark.parametrize("case", cases("sqlite", written_by="0.10.1"))
def test_sql_is_written(store: Store, case: Case, clock: Clock) -> None:
    clock.now = case.now
    storage = SqlStorage(store, case, table=store.backend.location(case.type))
    write(case, storage)
    assert storage.take() == storage.recorded()


# --- both together -----------------------------------------------------------------------------------


@pytest.mark.backends("=redis", "=mongo", "sqlite")
@pytest.mark.parametrize("kind", ["series", "histogram", "count", "gauge", "set"])
def test_what_is_added_later_joins_what_was_there(store: Store, kind: str, clock: Clock) -> None:
    """Buckets that the original began are continued in place, whatever form they are in."""
    family = "sqlite" if store.kind == "sql" else store.kind
    if store.name not in ("redis", "mongo", "sqlite"):
        pytest.skip("the layout is that of the core backends")
    for number, param in enumerate(cases(family)):
        (case,) = param.values
        if case.type != kind or case.frozen_now is not None:
            continue
        if case.id == f"0.10.1/mongo/{kind}/floats_dots":
            continue  # it holds texts that look like escaped floats
        storage = {
            "redis": RedisStorage,
            "mongo": MongoStorage,
            "sqlite": SqlStorage,
        }[family](store, case)
        if family == "redis":
            storage.start += f"{number}/"
        elif family == "mongo":
            storage.database = store.client[store.backend.location(kind, f"n{number}")]
        else:
            drop(store, storage.table)
        storage.put()
        model = case.model()
        series = storage.series()
        write(case, storage)
        case.note(model)
        for interval in case.intervals:
            for name in sorted({insert["name"] for insert in case.inserts}):
                for moment in sorted({insert["timestamp"] for insert in case.inserts}):
                    got = series.get(storage.name(name), interval, timestamp=moment)
                    assert got == model.get(name, interval, moment), (case.id, moment)
                if case.id.endswith("redis/count/count_zero"):
                    continue  # a count of 0 has no key, and so no ends
                assert series.properties(storage.name(name)) == model.properties(name), case.id
        if family == "mongo":
            for documents in storage.take().values():
                identities = [
                    (each["name"], each["interval"], each.get("resolution")) for each in documents
                ]
                assert len(identities) == len(set(identities)), case.id


def drop(store: Store, table: str) -> None:
    """Drop the table of the case before."""
    from sqlalchemy import text

    with store.client.begin() as connection:
        connection.execute(text(f'DROP TABLE IF EXISTS "{table}"'))
