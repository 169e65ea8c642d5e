"""How long data lives: counted from the bucket that it is for, and never without an end."""

from __future__ import annotations

from datetime import timezone
from typing import Any

import pytest

from . import oracle
from .conftest import NOW, Clock
from .store import KEPT, TYPES, Store

SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
WEEKS = {"week": {"step": "weekly", "steps": 4}, "month": {"step": "monthly", "steps": 2}}


def left(interval: str, timestamp: float, now: float, configurations: Any = KEPT) -> int:
    """Return the seconds that a write made now for a timestamp has to live."""
    config = configurations[interval]
    step = oracle.parse(config["step"])
    seconds = step if isinstance(step, int) else oracle.NOMINAL[step]
    age = oracle.start_of(step, now) - oracle.start_of(step, timestamp)
    rest = config["steps"] * seconds - age
    return rest if rest > 0 else seconds


def lifetimes(store: Store, series: Any, clock: Clock) -> dict[tuple[str, int], set[int]]:
    """Return {(interval, bucket): seconds left} of everything that lies in the store."""
    found: dict[tuple[str, int], set[int]] = {}
    if store.kind == "redis":
        for key in store.redis_keys(series):
            _, interval, bucket, *_ = key.decode()[len(series._prefix) :].split(":")
            found.setdefault((interval, int(bucket)), set()).add(store.client.ttl(key))
        return found
    database = store.mongo_database(series)
    for interval in series._intervals:
        kept = [
            index["expireAfterSeconds"]
            for index in database[interval].list_indexes()
            if "expireAfterSeconds" in index
        ]
        for document in database[interval].find():
            end = document["expire_from"].replace(tzinfo=timezone.utc).timestamp() + kept[0]
            bucket = int(document["interval"])
            found.setdefault((interval, bucket), set()).add(int(end - clock.now))
    return found


def assert_left(store: Store, got: set[int], expected: int, step: int) -> None:
    """Check lifetimes: to the second on Redis, and within a step of the bucket on MongoDB."""
    for seconds in got:
        if store.kind == "redis":
            # The server's clock may have ticked.
            assert expected - 2 <= seconds <= expected
        else:
            assert expected - step <= seconds <= expected + step


AGES = [0, 59, 300, 3599, 3 * 3600, 86400, 86400 * 3, 86400 * 30, -7200]


@pytest.mark.backends("redis", "mongo")
@pytest.mark.parametrize("kind", TYPES)
def test_expiry_counts_from_the_bucket_of_the_data(store: Store, kind: str, clock: Clock) -> None:
    series = store.numbers(kind, KEPT)
    for age in AGES:
        timestamp = NOW - age
        series.insert("a", 3, timestamp)
        got = lifetimes(store, series, clock)
        assert set(got) == {
            (interval, oracle.bucket_of(oracle.parse(config["step"]), timestamp))
            for interval, config in KEPT.items()
        }
        for (interval, _), seconds in got.items():
            expected = left(interval, timestamp, NOW)
            assert_left(store, seconds, expected, SECONDS[interval])
        series.delete_all()


@pytest.mark.backends("redis", "mongo")
def test_gregorian_steps_count_nominal_days(store: Store, clock: Clock) -> None:
    series = store.make("count", WEEKS)
    for days in (0, 6, 13, 40, 400):
        series.insert("a", 1, NOW - days * 86400)
    got = lifetimes(store, series, clock)
    for days in (0, 6, 13, 40, 400):
        for interval, config in WEEKS.items():
            timestamp = NOW - days * 86400
            step = oracle.parse(config["step"])
            seconds = got[interval, oracle.bucket_of(step, timestamp)]
            expected = left(interval, timestamp, NOW, WEEKS)
            assert_left(store, seconds, expected, oracle.NOMINAL[str(step)])


@pytest.mark.backends("redis", "mongo")
def test_each_of_several_steps_has_its_own_expiry(store: Store, clock: Clock) -> None:
    series = store.make("count", KEPT)
    series.insert("a", 1, NOW, intervals=2)
    series.insert("b", 1, NOW, intervals=-2)
    series.bulk_insert({NOW: {"c": [1]}, NOW - 600: {"c": [1]}}, intervals=1)
    got = lifetimes(store, series, clock)
    for interval, config in KEPT.items():
        step = oracle.parse(config["step"])
        for steps in (-2, -1, 0, 1, 2):
            start = oracle.shifted(step, NOW, steps)
            expected = left(interval, start, NOW)
            seconds = got[interval, oracle.bucket_of(step, start)]
            assert_left(store, seconds, expected, SECONDS[interval])


@pytest.mark.backends("redis")
def test_a_pipeline_that_breaks_off_leaves_no_key_without_an_expiry(
    store: Store, clock: Clock
) -> None:
    if store.name in ("fakeredis", "redis-cluster"):
        pytest.skip("whose pipelines take plain commands only")
    series = store.make("series", KEPT)
    series.insert("a", 1)
    pipeline = store.client.pipeline(transaction=False)
    series.insert("b", 1, pipeline=pipeline)
    series.bulk_insert({NOW: {"c": [1, 2]}}, pipeline=pipeline)
    # Each call is a single command, which the server runs as a whole.
    assert len(pipeline.command_stack) == 2
    pipeline.command_stack.pop()
    pipeline.execute()
    assert series.list() == ["a", "b"]
    assert all(store.client.ttl(key) > 0 for key in store.redis_keys(series))


@pytest.mark.parametrize("kind", TYPES)
def test_a_write_out_of_the_window_is_there_for_one_more_step(
    store: Store, kind: str, clock: Clock
) -> None:
    series = store.numbers(kind, KEPT)
    old = NOW - 86400 * 40
    series.insert("a", 3, old)
    series.bulk_insert({old: {"b": [3]}})
    for name in "ab":
        for interval in KEPT:
            (row,) = series.get(name, interval, timestamp=old).values()
            assert row in (3, [3], {3: 1}, {3})
    assert series.list() == ["a", "b"]
    if store.kind != "sql":
        for (interval, _), seconds in lifetimes(store, series, clock).items():
            assert_left(store, seconds, SECONDS[interval], 0 if store.kind == "redis" else 1)


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_no_key_is_ever_without_an_expiry(store: Store, kind: str, clock: Clock) -> None:
    series = store.numbers(kind, KEPT)
    moments = [NOW, NOW - 100, NOW - 5000, NOW - 86400 * 9, NOW + 9000, 0, -1]
    for timestamp in moments:
        series.insert("a", [1, 2.5], timestamp, intervals=2)
        series.insert("b", 2, timestamp, intervals=-2)
    series.bulk_insert({timestamp: {"a": [1, 2], "c": [2]} for timestamp in moments})
    series.bulk_insert([(timestamp, "d", 3) for timestamp in moments], intervals=1)
    if store.name != "fakeredis":
        series.insert("e", 4, id="an event")
    # A caller's pipeline may be cut off between two commands: no prefix of them may leave such a key.
    options = {} if store.name == "redis-cluster" else {"transaction": False}
    pipeline = store.client.pipeline(**options)
    series.insert("f", 4, pipeline=pipeline)
    pipeline.execute()
    keys = store.redis_keys(series)
    assert len(keys) > 100
    # All that lies under the prefix, what remembers events too.
    assert [key for key in keys if store.client.ttl(key) < 0] == []


@pytest.mark.backends("redis", "mongo")
def test_a_later_write_never_shortens_the_life_of_another_bucket(
    store: Store, clock: Clock
) -> None:
    series = store.make("count", {"minute": {"step": 60, "steps": 10}})
    series.insert("a", 1, NOW)
    series.insert("a", 1, NOW - 300)
    got = lifetimes(store, series, clock)
    assert_left(store, got["minute", NOW // 60], 600, 60)
    assert_left(store, got["minute", NOW // 60 - 5], 300, 60)
    clock.now += 120
    series.insert("a", 1, NOW)
    got = lifetimes(store, series, clock)
    assert_left(store, got["minute", NOW // 60], 480, 60)


@pytest.mark.parametrize("kind", TYPES)
def test_without_steps_data_is_kept_for_ever(store: Store, kind: str, clock: Clock) -> None:
    for steps in (None, 0):
        configurations = {
            "minute": {"step": 60, "steps": steps},
            "hour": {"step": "1h", "resolution": 60},
        }
        series = store.numbers(kind, configurations, space=f"s{steps}")
        series.insert("a", 3, 90)
        series.bulk_insert({150: {"a": [5]}})
        assert series.expire() == 0
        assert series.expire("a") == 0
        assert list(series.series("a", "minute", start=90, steps=2)) == [60, 120]
        assert series.list() == ["a"]
        if store.kind == "redis":
            assert {store.client.ttl(key) for key in store.redis_keys(series)} == {-1}
        elif store.kind == "mongo":
            database = store.mongo_database(series)
            for name in database.list_collection_names():
                assert not any("expire_from" in document for document in database[name].find())


@pytest.mark.parametrize("kind", TYPES)
def test_only_intervals_with_steps_expire(store: Store, kind: str, clock: Clock) -> None:
    configurations = {"minute": {"step": 60, "steps": 5}, "hour": {"step": 3600, "resolution": 60}}
    series = store.numbers(kind, configurations)
    series.insert("a", 3, NOW - 3000)
    if store.kind == "sql":
        assert series.expire() == 1
        assert list(series.properties("a")) == ["hour"]
    else:
        for key in store.redis_keys(series) if store.kind == "redis" else ():
            assert (store.client.ttl(key) > 0) == (b":minute:" in key)
    if store.kind == "mongo":
        database = store.mongo_database(series)
        assert all("expire_from" in each for each in database["minute"].find())
        assert not any("expire_from" in each for each in database["hour"].find())


@pytest.mark.backends("redis", "mongo")
def test_expire_does_nothing_where_the_store_expires(store: Store, clock: Clock) -> None:
    series = store.make("count", KEPT)
    series.insert("a", 1, NOW - 86400 * 30)
    before = store.look()
    assert series.expire() == 0
    assert series.expire("a") == 0
    assert store.look() == before


@pytest.mark.backends("sql")
@pytest.mark.parametrize("kind", TYPES)
def test_expire_removes_exactly_what_is_out_of_the_window(
    store: Store, kind: str, clock: Clock
) -> None:
    series = store.numbers(kind, KEPT)
    for name in ("a", "A", "b%"):
        for age in range(0, 1200, 60):
            series.insert(name, 3, NOW - age)
        series.insert(name, 3, NOW + 86400)
        series.insert(name, 3, NOW - 86400 * 9)
    before = len(store.look())
    gone = series.expire("a")
    assert gone == before - len(store.look()) > 0
    assert series.expire("a") == 0
    # The current step and the nine before it.
    first = NOW // 60 * 60 - 9 * 60
    assert series.properties("a")["minute"]["first"] == first
    assert series.properties("A")["minute"]["first"] < first
    assert series.properties("a")["day"]["first"] == oracle.start_of("daily", NOW)
    rows = series.series("a", "minute", start=first - 60, end=NOW)
    assert [bool(row) for row in rows.values()] == [False] + [True] * 10
    middle = len(store.look())
    assert series.expire() == middle - len(store.look()) == 2 * gone
    for name in ("A", "b%"):
        assert series.properties(name) == series.properties("a")
    clock.now += 600
    series.expire()
    assert series.properties("a")["minute"]["first"] == oracle.start_of(60, NOW + 86400)


@pytest.mark.backends("mongo")
def test_mongo_expires_by_an_index(store: Store, clock: Clock) -> None:
    series = store.make("count", {**KEPT, "ever": {"step": 60}})
    series.insert("a", 1)
    database = store.mongo_database(series)
    for interval, config in series._intervals.items():
        indexes = list(database[interval].list_indexes())
        kept = [each for each in indexes if "expireAfterSeconds" in each]
        assert [each["expireAfterSeconds"] for each in kept] == (
            [] if interval == "ever" else [config["expire"]]
        )
        assert all(list(each["key"]) == ["expire_from"] for each in kept)
