"""Damaged data: an error that names the place, never a wrong number."""

from __future__ import annotations

from typing import Any

import pytest

from kairos.exceptions import DamagedData

from .store import BOTH, TYPES, Store

#: What a Redis key of another type is made with.
OTHER: dict[str, list[tuple[Any, ...]]] = {
    "string": [("SET", "hello")],
    "list": [("RPUSH", "5")],
    "hash": [("HSET", "5", "1")],
    "set": [("SADD", "5")],
    "zset": [("ZADD", "1", "5")],
}
NATIVE = {"series": "list", "histogram": "hash", "count": "string", "gauge": "string", "set": "set"}


def readings(series: Any, interval: str) -> list[Any]:
    """Return all ways to read the bucket at 90 of the name 'bad'."""
    wanted: list[Any] = []
    for names in ("bad", ["bad", "good"], ["good", "bad"]):
        for transform in (None, "count", "rate", ["sum", "count"], len):
            for stages in ({}, {"condense": True}):
                keywords = {"transform": transform, **stages}
                wanted.append(
                    lambda n=names, k=keywords: series.get(n, interval, timestamp=90, **k)
                )
                wanted.append(lambda n=names, k=keywords: series.series(n, interval, start=90, **k))
            wanted.append(
                lambda n=names, t=transform: series.series(
                    n, interval, start=90, steps=2, transform=t, collapse=True
                )
            )
        wanted.append(lambda n=names: list(series.iterate(n, interval)))
    return wanted


def assert_damaged(series: Any, interval: str, *place: str) -> None:
    """Check that every way to read a damaged row raises an error that names its place."""
    for read in readings(series, interval):
        error = None
        got = "nothing"
        try:
            got = read()
        except DamagedData as damage:
            error = damage
        assert error is not None, f"{read.__defaults__} gave {got}"
        assert all(part in str(error) for part in place), error


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("other", OTHER)
def test_a_redis_key_of_another_type(store: Store, kind: str, other: str) -> None:
    if other == NATIVE[kind]:
        pytest.skip("that is what the type keeps")
    series = store.numbers(kind)
    series.insert("good", 3, timestamp=90)
    coarse, fine = (series._prefix + f"bad:{end}" for end in ("minute:1", "hour:0:1"))
    index = series._prefix + "bad:hour:0"
    store.client.sadd(index, "1")
    for key in (coarse, fine):
        for command, *arguments in OTHER[other]:
            store.client.execute_command(command, key, *arguments)
    assert_damaged(series, "minute", coarse)
    assert_damaged(series, "hour", fine)
    # A gauge replaces what it finds; nothing else can be added to.
    if kind != "gauge":
        before = store.look()
        with pytest.raises(DamagedData, match="bad:minute:1|bad:hour:0:1"):
            series.insert("bad", 3, timestamp=90)
        with pytest.raises(DamagedData, match="bad:minute:1|bad:hour:0:1"):
            series.bulk_insert({90: {"good": [3], "bad": [3]}})
        assert store.look() == before or store.name == "redis-cluster"
    if other != "set":
        store.client.delete(index)
        for command, *arguments in OTHER[other]:
            store.client.execute_command(command, index, *arguments)
        assert_damaged(series, "hour", index)
        with pytest.raises(DamagedData, match=r"bad:(minute:1|hour:0)"):
            series.insert("bad", 3, timestamp=90)


@pytest.mark.backends("redis")
def test_redis_numbers_that_are_none(store: Store) -> None:
    count = store.make("count")
    count.insert("good", 3, timestamp=90)
    coarse, fine = (count._prefix + f"bad:{end}" for end in ("minute:1", "hour:0:1"))
    store.client.sadd(count._prefix + "bad:hour:0", "1")
    texts: list[str | bytes] = ["many", "", "1x", "nan", "inf", "0x5", b"\xff"]
    if store.name == "redis-decode":
        texts.pop()  # that client decodes by itself
    for text in texts:
        for key in (coarse, fine):
            store.client.set(key, text)
        assert_damaged(count, "minute", coarse)
        assert_damaged(count, "hour", fine)
        if store.name == "fakeredis":
            continue  # which adds to more than a server does
        before = store.look()
        with pytest.raises(DamagedData, match="bad"):
            count.insert("bad", 3, timestamp=90)
        assert store.look() == before
    histogram = store.numbers("histogram")
    histogram.insert("good", 3, timestamp=90)
    key = histogram._prefix + "bad:minute:1"
    store.client.hset(key, mapping={"3": "many", "4": "1"})
    assert_damaged(histogram, "minute", key)
    with pytest.raises(DamagedData, match="bad:minute:1"):
        histogram.insert("bad", 3, timestamp=90)


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_a_redis_resolution_that_is_none(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("good", 3, timestamp=90)
    series.insert("bad", 3, timestamp=90)
    index = series._prefix + "bad:hour:0"
    store.client.sadd(index, "x")
    assert_damaged(series, "hour", index)


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_resolutions_that_are_gone_are_no_data(store: Store, kind: str) -> None:
    """They expire on their own, so the set may name keys that are not there any more."""
    series = store.numbers(kind)
    series.insert("a", 3, timestamp=90)
    series.insert("a", 3, timestamp=150)
    expected = series.get("a", "hour", timestamp=90)
    del expected[120]
    store.client.delete(series._prefix + "a:hour:0:2")
    assert series.get("a", "hour", timestamp=90) == expected
    assert series.series("a", "hour", start=90) == {0: expected}
    for transform in (None, "count", "rate", ["sum", "count"]):
        got = series.get("a", "hour", timestamp=90, transform=transform, condense=True)
        assert got.keys() == {0}


@pytest.mark.backends("redis")
def test_text_that_is_no_utf8(store: Store) -> None:
    if store.name == "redis-decode":
        pytest.skip("that client decodes by itself")
    series = store.make("series")
    series.insert("good", "x", timestamp=90)
    key = series._prefix + "bad:minute:1"
    store.client.rpush(key, b"\xff\xfe")
    with pytest.raises(DamagedData, match=r"bad:minute:1.*encoding"):
        series.get("bad", "minute", timestamp=90)
    raw = store.make("series", encoding=None)
    assert raw.get("bad", "minute", timestamp=90) == {60: [b"\xff\xfe"]}
    assert raw.get("good", "minute", timestamp=90) == {60: [b"x"]}


UNFIT: dict[str, list[Any]] = {
    "series": ["text", 5, {"3": 1}],
    "histogram": ["text", 5, [3], {"3": "many"}, {"3": None}, {"3": [1]}],
    "count": ["text", [3], {"3": 1}, None, True, float("nan")],
    "set": ["text", 5, {"3": 1}, [[3]]],
}


@pytest.mark.backends("mongo")
@pytest.mark.parametrize("kind", list(UNFIT))
def test_mongo_values_of_another_type(store: Store, kind: str) -> None:
    import pymongo.errors

    series = store.make(kind)
    series.insert("good", 3, timestamp=90)
    database = store.mongo_database(series)
    for value in UNFIT[kind]:
        for collection, more in (
            ("minute", {"interval": 1}),
            ("hour", {"interval": 0, "resolution": 1}),
        ):
            database[collection].delete_many({"name": "bad"})
            database[collection].insert_one({"name": "bad", "value": value, **more})
            assert_damaged(series, collection, collection, "'bad'")
    for value in UNFIT[kind][:2]:
        database["minute"].update_one({"name": "bad"}, {"$set": {"value": value}})
        before = store.look()
        with pytest.raises((DamagedData, pymongo.errors.OperationFailure)):
            series.insert("bad", 3, timestamp=90)
        assert [each for each in store.look() if each[0] == "minute"] == [
            each for each in before if each[0] == "minute"
        ]


@pytest.mark.backends("mongo")
@pytest.mark.parametrize("kind", TYPES)
def test_mongo_fields_that_nobody_knows(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", 3, timestamp=90)
    expected = [series.get("a", interval, timestamp=90) for interval in BOTH]
    database = store.mongo_database(series)
    for collection in BOTH:
        database[collection].update_many({}, {"$set": {"note": {"by": "hand"}, "x": [5]}})
        database[collection].insert_one({"something": "else"})
        database[collection].insert_one({"name": 5, "interval": 1, "value": "x"})
    assert [series.get("a", interval, timestamp=90) for interval in BOTH] == expected
    assert series.list() == ["a"]
    assert list(series.properties("a")) == list(BOTH)
    series.insert("a", 3, timestamp=90)
    assert len(store.look()) == 6


@pytest.mark.backends("sqlite")
@pytest.mark.parametrize(
    ("kind", "column"),
    [("histogram", "count"), ("count", "count"), *((kind, "value") for kind in TYPES if kind != "count")],
)
def test_sql_numbers_that_are_none(store: Store, kind: str, column: str) -> None:
    """SQLite holds text in a column of numbers."""
    import sqlalchemy

    series = store.numbers(kind)
    series.insert("good", 3, timestamp=90)
    series.insert("bad", 3, timestamp=90)
    table = sqlalchemy.table(
        store.sql_table(series), sqlalchemy.column(column), sqlalchemy.column("name")
    )
    for value in ("many", b"x"):
        with store.client.begin() as connection:
            change = sqlalchemy.update(table).where(table.c.name == "bad")
            connection.execute(change.values({column: value}))
        assert_damaged(series, "minute", "'bad'")
        assert_damaged(series, "hour", "'bad'")
