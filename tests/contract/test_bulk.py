"""``bulk_insert``: the same result as inserting one by one, in fewer steps."""

from __future__ import annotations

import copy
import itertools
import tracemalloc
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos import pipeline, timeseries

from . import oracle
from .conftest import NOW, Clock
from .store import HOUR, MINUTE, TYPES, Store, as_number
from .test_insert import ROWS

NAMES = ("a", "b:minute", "c d")


@pytest.mark.parametrize("kind", TYPES)
def test_a_mapping_is_written_as_if_one_by_one(store: Store, kind: str, clock: Clock) -> None:
    series = store.numbers(kind)
    model = oracle.Model(kind, {**MINUTE, **HOUR}, as_number)
    inserts: dict[Any, dict[str, list[Any]]] = {
        1362486896: {"a": [1, 2, 3], "b": [2.5]},
        1362486896.75: {"a": [4]},
        60: {"b": [4, 2]},
        0: {"b": [3], "c": []},
        None: {"a": [7, 1], "b": [2]},
        -1: {"a": [2]},
    }
    series.bulk_insert(inserts)
    for timestamp, names in inserts.items():
        for name, values in names.items():
            if values:
                model.insert(name, values, NOW if timestamp is None else timestamp)
    for name in "abc":
        assert series.properties(name) == model.properties(name)
        for timestamp in (1362486896, 60, 0, NOW, -1):
            for interval in ("minute", "hour"):
                got = series.get(name, interval, timestamp=timestamp)
                assert got == model.get(name, interval, timestamp)
    assert series.list() == ["a", "b"]


def test_no_intervals_are_as_none(store: Store) -> None:
    series = store.numbers("count")
    series.insert("a", 1, 90, intervals=None)
    series.bulk_insert({90: {"a": [2]}}, intervals=None)
    series.bulk_insert([(90, "a", 4)], 0)
    assert series.series("a", "minute", start=0, steps=4) == {0: 0, 60: 7, 120: 0, 180: 0}


def test_datetimes_are_keys_too(store: Store) -> None:
    series = store.numbers("count")
    series.bulk_insert({datetime(2013, 3, 5, 12, 34, 56, tzinfo=timezone.utc): {"a": [1, 2]}})
    assert series.get("a", "minute", timestamp=1362486896) == {1362486840: 3}


@pytest.mark.parametrize("kind", TYPES)
def test_single_values_need_no_list(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.bulk_insert({90: {"a": 3}, 91: {"a": (5,)}})
    assert series.get("a", "minute", timestamp=90) == {60: ROWS[kind]}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "wrap",
    [list, tuple, iter, lambda entries: (entry for entry in entries)],
    ids=["list", "tuple", "iterator", "generator"],
)
def test_entries_are_accepted(store: Store, kind: str, wrap: Any, clock: Clock) -> None:
    series = store.numbers(kind)
    series.bulk_insert(wrap([(90, "a", 3), (None, "a", [3, 5]), (61.5, "a", 5), [90, "b", (3, 5)]]))
    assert series.get("a", "minute", timestamp=90) == {60: ROWS[kind]}
    assert series.get("b", "hour", timestamp=90) == {60: ROWS[kind]}
    assert series.get("a", "minute") == {NOW // 60 * 60: ROWS[kind]}


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_is_nothing(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    for nothing in ({}, {90: {}}, {90: {"a": []}}, [], iter(())):
        series.bulk_insert(nothing)
    assert store.look() == []


def test_order_is_kept(store: Store) -> None:
    series = store.numbers("series")
    gauge = store.numbers("gauge")
    inserts = OrderedDict(
        [(100, {"a": [5, 3]}), (70, {"a": [4]}), (119, {"a": [2]}), (60, {"a": [1, 9]})]
    )
    for each in (series, gauge):
        each.bulk_insert(inserts)
    assert series.get("a", "minute", timestamp=90) == {60: [5, 3, 4, 2, 1, 9]}
    assert series.get("a", "hour", timestamp=90) == {60: [5, 3, 4, 2, 1, 9]}
    assert gauge.get("a", "minute", timestamp=90) == {60: 9}
    series.bulk_insert([(100, "a", [6]), (90, "a", 7)])
    assert series.get("a", "minute", timestamp=90) == {60: [5, 3, 4, 2, 1, 9, 6, 7]}


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_handed_in_stays_as_it_is(store: Store, kind: str) -> None:
    series = store.numbers(kind, write_func=lambda value: value + 1)
    inserts: Any = OrderedDict(
        [(90, OrderedDict([("a", [1, 2]), ("b", [3])])), (None, OrderedDict([("a", [4])]))]
    )
    before = copy.deepcopy(inserts)
    series.bulk_insert(inserts)
    series.bulk_insert(inserts, intervals=1)
    assert inserts == before
    assert [list(names) for names in inserts.values()] == [["a", "b"], ["a"]]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("intervals", [1, -2])
def test_following_or_preceding_steps(store: Store, kind: str, intervals: int) -> None:
    configurations = {**MINUTE, **HOUR, "month": {"step": "monthly"}}
    series = store.numbers(kind, configurations)
    model = oracle.Model(kind, configurations, as_number)
    inserts = {86400 * 400: {"a": [1, 2], "b": [2]}, 86400 * 400 + 70: {"a": [3]}}
    series.bulk_insert(inserts, intervals=intervals)
    for timestamp, names in inserts.items():
        for name, values in names.items():
            model.insert(name, values, timestamp, intervals)
    for name in "ab":
        assert series.properties(name) == model.properties(name)
        for interval in configurations:
            ends = model.properties(name)[interval]
            span = {"start": ends["first"], "end": ends["last"]}
            assert series.series(name, interval, **span) == model.series(name, interval, **span)


entries = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        # No sum of a few is 0, which Redis keeps no coarse count of.
        st.lists(st.sampled_from([1, 2, 3, 0.5, -2.0625]), min_size=1, max_size=4),
        st.sampled_from([0, 1, 59, 60, 3600, 3601, -1, 90.5]),
    ),
    min_size=1,
    max_size=15,
)


@pytest.mark.parametrize("kind", TYPES)
def test_any_bulk_equals_the_same_one_by_one(
    store: Store, kind: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store.numbers(kind, space="one")
    many = store.numbers(kind, space="many")
    # Small chunks, so that a few values cross every one of their boundaries.
    monkeypatch.setattr(timeseries, "CHUNK_VALUES", 5)
    monkeypatch.setattr(pipeline, "GROUP_WRITES", 3)
    monkeypatch.setattr(pipeline, "WRITE_VALUES", 2)
    serial = itertools.count()

    @settings(max_examples=10)
    @given(entries, st.booleans())
    def check(log: list[tuple[str, list[Any], float]], as_stream: bool) -> None:
        start = f"{next(serial)}/"
        for name, values, timestamp in log:
            one.insert(start + name, values, timestamp)
        if as_stream:
            many.bulk_insert((timestamp, start + name, values) for name, values, timestamp in log)
        else:
            # A mapping holds a timestamp once, so it takes a few of them to keep the order.
            inserts: OrderedDict[Any, Any] = OrderedDict()
            for name, values, timestamp in log:
                if timestamp in inserts or (inserts and kind == "gauge"):
                    many.bulk_insert(inserts)
                    inserts = OrderedDict()
                inserts[timestamp] = {start + name: values}
            many.bulk_insert(inserts)
        names = [start + name for name in NAMES]
        for name in names:
            assert many.properties(name) == one.properties(name)
            for interval in ("minute", "hour"):
                span = {"start": -3600, "end": 3660}
                assert many.series(name, interval, **span) == one.series(name, interval, **span)

    check()


def test_many_buckets_and_many_values_cross_every_bound(store: Store) -> None:
    series = store.numbers("series")
    count = store.numbers("count")
    wide = {60 * minute: {"a": [minute, minute + 1], "b": [minute]} for minute in range(700)}
    for each in (series, count):
        each.bulk_insert(wide)
    rows = series.series("a", "minute", start=0, end=699 * 60)
    assert rows == {60 * minute: [minute, minute + 1] for minute in range(700)}
    assert count.series("a", "hour", start=0, end=699 * 60, collapse=True) == {0: 700**2}
    assert count.series("b", "minute", start=0, end=699 * 60, collapse=True) == {0: 699 * 350}
    deep = {90: {"c": list(range(4500))}}
    for each in (series, count):
        each.bulk_insert(deep)
    assert series.get("c", "minute", timestamp=90) == {60: list(range(4500))}
    assert count.get("c", "hour", timestamp=90) == {60: 4499 * 2250}


def test_a_stream_is_written_while_it_is_read_and_never_held_as_a_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = store.make("count")
    monkeypatch.setattr(timeseries, "CHUNK_VALUES", 2000)
    total = 40_000
    seen: list[int] = []

    def entries() -> Iterator[tuple[int, str, int]]:
        for number in range(total):
            if number == total // 2:
                seen.append(len(store.look(series)))
            yield number // 100, f"n{number % 10}", 1

    # Once without looking, so that what is cached for good does not count.
    series.bulk_insert([(0, f"n{number % 10}", 0) for number in range(5000)])
    tracemalloc.start()
    try:
        series.bulk_insert(entries())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen[0] > 10
    assert peak < 8 << 20
    got = series.series(
        [f"n{number}" for number in range(10)], "hour", start=0, end=400, collapse=True
    )
    assert got == {0: total}


def test_an_error_in_a_mapping_writes_nothing(store: Store) -> None:
    series = store.make("count")
    with pytest.raises(ValueError, match="many"):
        series.bulk_insert({90: {"a": [1, 2]}, 150: {"b": [1, "many"]}})
    with pytest.raises(TypeError):
        series.bulk_insert({90: {"a": [1]}, "x": {"a": [1]}})
    assert store.look() == []


@pytest.mark.parametrize(
    "inserts",
    [5, "text", None, [5], [(90, "a")], [(90, "a", 1, "id", 5)], {90: [1]}, {90: "a"}, b"x"],
)
def test_what_is_no_bulk_is_refused(store: Store, inserts: Any) -> None:
    series = store.make("count")
    with pytest.raises(TypeError) as caught:
        series.bulk_insert(inserts)
    assert isinstance(caught.value, timeseries.KairosException)
    assert store.look() == []
