"""What ``insert`` writes, and where."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from kairos.exceptions import KairosException

from . import oracle
from .conftest import NOW, Clock
from .store import BOTH, HOUR, MINUTE, TYPES, Store, as_number

#: A row that holds 3 and then 5.
ROWS = {"series": [3, 5], "histogram": {3: 1, 5: 1}, "count": 8, "gauge": 5, "set": {3, 5}}


@pytest.mark.parametrize("kind", TYPES)
def test_no_timestamp_means_now(store: Store, kind: str, clock: Clock) -> None:
    series = store.numbers(kind)
    series.insert("a", 3)
    series.insert("a", 5, timestamp=None)
    assert series.get("a", "minute") == {NOW // 60 * 60: ROWS[kind]}
    assert series.get("a", "hour") == {NOW // 60 * 60: ROWS[kind]}
    clock.now += 60
    assert series.get("a", "minute") == {NOW // 60 * 60 + 60: oracle.EMPTY[kind]()}


@pytest.mark.parametrize(
    ("timestamp", "bucket"),
    [
        (0, 0),
        (0.0, 0),
        (59.999, 0),
        (60, 60),
        (-1, -60),
        (-0.5, -60),
        (-60, -60),
        (-60.5, -120),
        (-2208988800, -2208988800),
        (1362486896.75, 1362486840),
        (datetime(1970, 1, 1, 0, 1, tzinfo=timezone.utc), 60),
        (datetime(1970, 1, 1, 1, 1, 59, 999999, timezone(timedelta(hours=1))), 60),
        (datetime(1969, 12, 31, 23, 59, 59, 5, timezone.utc), -60),
        (
            datetime(2030, 5, 5, 5, 35, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            1904169900,
        ),
    ],
)
def test_timestamps_are_floored_to_their_bucket(store: Store, timestamp: Any, bucket: int) -> None:
    series = store.numbers()
    series.insert("a", 3, timestamp=timestamp)
    series.insert("a", 5, timestamp)
    assert series.get("a", "minute", timestamp=timestamp) == {bucket: [3, 5]}
    assert series.get("a", "minute", timestamp=bucket) == {bucket: [3, 5]}
    assert series.get("a", "hour", timestamp=bucket) == {bucket: [3, 5]}
    assert series.get("a", "minute", timestamp=bucket + 59) == {bucket: [3, 5]}
    for outside in (bucket - 1, bucket + 60):
        assert list(series.get("a", "minute", timestamp=outside).values()) == [[]]


def test_one_second_steps_reach_beyond_2038(store: Store) -> None:
    series = store.numbers(
        "count", {"second": {"step": 1}, "hour": {"step": "1h", "resolution": 1}}
    )
    for timestamp in (2**31 - 1, 2**31, 2**32 + 5):
        series.insert("a", 2, timestamp)
        assert series.get("a", "second", timestamp=timestamp) == {timestamp: 2}
        assert series.get("a", "hour", timestamp=timestamp)[timestamp] == 2


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("values", [[3, 5], (3, 5), {3, 5}, frozenset([3, 5])])
def test_each_element_of_a_collection_is_inserted(store: Store, kind: str, values: Any) -> None:
    series = store.numbers(kind)
    series.insert("a", values, timestamp=90)
    got = series.get("a", "minute", timestamp=90)
    if kind == "series" and isinstance(values, (set, frozenset)):
        got = {60: sorted(got[60])}
    assert got == {60: ROWS[kind]}
    assert series.get("a", "hour", timestamp=90, condense=True).keys() == {0}


@pytest.mark.parametrize("kind", TYPES)
def test_an_empty_collection_inserts_nothing(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    for empty in ([], (), set()):
        series.insert("a", empty, timestamp=90)
    assert store.look() == []
    assert series.list() == []
    assert series.get("a", "hour", timestamp=90) == {}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("intervals", [2, -3])
def test_following_or_preceding_steps_are_inserted_into(
    store: Store, kind: str, intervals: int
) -> None:
    configurations = {
        **BOTH,
        "day": {"step": "daily", "resolution": "1h"},
        "week": {"step": "weekly"},
        "month": {"step": "monthly", "resolution": "daily"},
        "year": {"step": "yearly"},
    }
    series = store.numbers(kind, configurations)
    model = oracle.Model(kind, configurations, as_number)
    for value, timestamp in ((3, 1359633600 + 90), (5, 1359633600 + 90), (2, 1359633600)):
        # 2013-01-31, from where a month ahead has to be clamped.
        series.insert("a", value, timestamp, intervals=intervals)
        model.insert("a", value, timestamp, intervals)
    series.insert("b", 3, 1359633600, 0)
    for interval in configurations:
        start, end = sorted(
            (1359633600, oracle.shifted(model.intervals[interval][0], 1359633600, intervals))
        )
        expected = model.series("a", interval, start=start, end=end)
        assert sum(bool(row) for row in expected.values()) >= abs(intervals)
        assert series.series("a", interval, start=start, end=end) == expected
    assert series.properties("a") == model.properties("a")
    minutes = sorted(model.rows["minute"]["a"])
    assert series.properties("a")["minute"] == {"first": minutes[0], "last": minutes[-1]}


@pytest.mark.parametrize("kind", ["series", "histogram", "gauge", "set"])
def test_write_func_and_read_func_work_on_each_value(store: Store, kind: str) -> None:
    seen: list[Any] = []

    def write(value: str) -> int:
        seen.append(value)
        return len(value)

    series = store.make(kind, write_func=write, read_func=lambda value: f"<{as_number(value)}>")
    series.insert("a", "xxx", timestamp=90)
    series.insert("a", ["yyyyy", "zzz"], timestamp=150)
    series.bulk_insert({210: {"a": ["x", "yy"]}})
    assert seen == ["xxx", "yyyyy", "zzz", "x", "yy"]
    expected: Any = {
        "series": [["<3>"], ["<5>", "<3>"], ["<1>", "<2>"]],
        "histogram": [{"<3>": 1}, {"<5>": 1, "<3>": 1}, {"<1>": 1, "<2>": 1}],
        "gauge": ["<3>", "<3>", "<2>"],
        "set": [{"<3>"}, {"<5>", "<3>"}, {"<1>", "<2>"}],
    }
    got = series.series("a", "minute", start=90, end=210)
    assert list(got.values()) == expected[kind]
    assert list(series.get("a", "hour", timestamp=90).values()) == expected[kind]


def test_write_func_and_read_func_work_on_counts(store: Store) -> None:
    series = store.make("count", write_func=len, read_func=lambda count: as_number(count) * 10)
    series.insert("a", "xxx", timestamp=90)
    series.bulk_insert([(90, "a", "yy")])
    assert series.get("a", "minute", timestamp=90) == {60: 50}


def test_values_that_read_func_makes_equal_meet_in_one_key(store: Store) -> None:
    histogram = store.make("histogram", read_func=lambda value: int(as_number(value)))
    histogram.insert("a", [1.25, 1.5, 2], timestamp=90)
    assert histogram.get("a", "minute", timestamp=90) == {60: {1: 2, 2: 1}}
    distinct = store.make("set", read_func=lambda value: int(as_number(value)))
    distinct.insert("a", [1.25, 1.5, 2], timestamp=90)
    assert distinct.get("a", "minute", timestamp=90) == {60: {1, 2}}
    assert distinct.get("a", "minute", timestamp=90, transform="count") == {60: 2}


# --- counts ------------------------------------------------------------------------------------------


def test_a_count_adds_one_by_default(store: Store) -> None:
    series = store.make("count")
    series.insert("a", timestamp=90)
    series.insert("a", timestamp=90)
    series.insert("a", timestamp=60, intervals=1)
    assert series.series("a", "minute", start=60, steps=2) == {60: 3, 120: 1}


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([1, 5, -2], 4),
        ([3, -3], 0),
        ([0], 0),
        ([1.5, 0.25], 1.75),
        ([1, 0.5], 1.5),
        ([0.5, 1], 1.5),
        ([-0.5, 0.5, 4], 4),
        (["5", "-2"], 3),
        ([b"7"], 7),
        ([" 2.5 ", "1e2"], 102.5),
        ([Decimal("2"), Fraction(1, 2)], 2.5),
        ([True, True], 2),
        ([2**40, 2**40, -1], 2**41 - 1),
    ],
)
def test_counts_add_numbers_and_what_spells_one(
    store: Store, values: list[Any], total: Any
) -> None:
    series = store.make("count")
    for value in values:
        series.insert("a", value, timestamp=90)
    series.bulk_insert({90: {"b": values}})
    for name in ("a", "b"):
        for interval in ("minute", "hour"):
            (got,) = series.get(name, interval, timestamp=90).values()
            assert got == total
            assert type(got) is (int if total == int(total) else float)


def test_a_count_of_zero_reads_as_zero(store: Store) -> None:
    series = store.make("count")
    series.insert("a", 0, timestamp=90)
    series.insert("a", [0, 0], timestamp=150)
    series.bulk_insert({210: {"a": [0]}, 7300: {"b": [0]}})
    assert series.series("a", "minute", start=0, steps=5) == dict.fromkeys(range(0, 300, 60), 0)
    assert series.get("a", "hour", timestamp=90) == {60: 0, 120: 0, 180: 0}
    assert series.get("a", "hour", timestamp=90, condense=True) == {0: 0}
    assert series.list() == ["a", "b"]
    series.insert("a", 5, timestamp=90)
    series.insert("a", 0, timestamp=90)
    assert series.get("a", "minute", timestamp=90) == {60: 5}
    if store.kind == "redis":
        pipeline = store.client.pipeline()
        series.insert("a", 0, timestamp=90, pipeline=pipeline)
        pipeline.execute()
        assert series.get("a", "minute", timestamp=90) == {60: 5}
    store.needs_events()
    series.insert("a", 0, timestamp=90, id="an event")
    assert series.get("a", "minute", timestamp=90) == {60: 5}


# --- values ------------------------------------------------------------------------------------------


TEXTS = [
    "hello",
    "a.b",
    "caf\u00e9",
    "\U0001f600 \u4e2d",
    "",
    "$set",
    " x ",
    "A\nB",
    "0",
    "1.50",
    "'; --",
    "%s",
]


@pytest.mark.parametrize("kind", ["series", "histogram", "gauge", "set"])
def test_text_reads_as_it_was_written(store: Store, kind: str) -> None:
    series = store.texts(kind)
    for number, value in enumerate(TEXTS):
        name = f"n{number}"
        series.insert(name, value, timestamp=90)
        one = {"series": [value], "histogram": {value: 1}, "gauge": value, "set": {value}}
        expected = one[kind]
        assert series.get(name, "minute", timestamp=90) == {60: expected}
        assert series.get(name, "hour", timestamp=90) == {60: expected}
        assert series.series(name, "minute", start=90, collapse=True) == {60: expected}
        assert series.get(name, "hour", timestamp=90, condense=True) == {0: expected}


@pytest.mark.parametrize("kind", ["histogram", "set"])
def test_texts_that_collations_take_for_one_are_two(store: Store, kind: str) -> None:
    series = store.texts(kind)
    values = ["a", "A", "\u00e4", "a ", " a", "\u00df", "ss", "\u0131", "i"]
    for value in values:
        series.insert("n", value, timestamp=90)
    series.insert("n", values, timestamp=90)
    (row,) = series.get("n", "minute", timestamp=90).values()
    assert row == (dict.fromkeys(values, 2) if kind == "histogram" else set(values))


@pytest.mark.parametrize("kind", ["series", "gauge", "set"])
def test_values_come_back_in_the_type_that_the_store_keeps(store: Store, kind: str) -> None:
    series = store.make(kind)
    for value in (3, 2.5):
        series.insert("a", value, timestamp=90)
    (row,) = series.get("a", "minute", timestamp=90).values()
    values = [row] if kind == "gauge" else sorted(row, key=float, reverse=True)
    expected: list[Any] = {"redis": ["3", "2.5"], "mongo": [3, 2.5], "sql": [3.0, 2.5]}[store.kind]
    expected = expected[1:] if kind == "gauge" else expected
    assert values == expected
    assert list(map(type, values)) == list(map(type, expected))


@pytest.mark.backends("mongo")
def test_mongo_holds_what_bson_holds(store: Store) -> None:
    from bson import ObjectId

    values: list[Any] = [
        ObjectId(),
        datetime(2013, 3, 5, 12, 34, 56),
        {"a": {"b.c": [1, {"d": None}]}},
        b"\x00\xff",
        True,
        2**40,
        1.5,
        "text",
    ]
    series, gauge, distinct = (store.make(kind) for kind in ("series", "gauge", "set"))
    for value in values:
        for each in (series, gauge):
            each.insert("a", value, timestamp=90)
        assert gauge.get("a", "minute", timestamp=90) == {60: value}
        if not isinstance(value, dict):
            distinct.insert("a", value, timestamp=90)
    (row,) = series.get("a", "hour", timestamp=90).values()
    assert row == values
    assert list(map(type, row)) == list(map(type, values))
    hashable = {value for value in values if not isinstance(value, dict)}
    assert distinct.get("a", "minute", timestamp=90) == {60: hashable}
    series.insert("b", [[1, 2], [3]], timestamp=90)
    assert series.get("b", "minute", timestamp=90) == {60: [[1, 2], [3]]}


@pytest.mark.backends("redis")
def test_redis_gives_bytes_without_an_encoding(store: Store) -> None:
    if store.name == "redis-decode":
        pytest.skip("that client decodes by itself")
    expected: dict[str, Any] = {
        "series": [b"\xff", b"5"],
        "histogram": {b"\xff": 1, b"5": 1},
        "gauge": b"5",
        "set": {b"\xff", b"5"},
    }
    for kind, row in expected.items():
        series = store.make(kind, encoding=None)
        series.insert("a", [b"\xff", 5], timestamp=90)
        assert series.get("a", "minute", timestamp=90) == {60: row}
        assert series.get("a", "hour", timestamp=90, condense=True) == {0: row}
        latin = store.make(kind, encoding="latin-1", space="latin")
        latin.insert("a", "\u00ff", timestamp=90)
        assert "\u00ff" in latin.get("a", "minute", timestamp=90)[60]
        assert any(
            b"\xff" in str(each[2]).encode() or "\\xff" in str(each[2])
            for each in store.look(latin)
        )


def test_arrival_order_is_kept_while_the_clock_stands_still_or_jumps_back(
    store: Store, clock: Clock
) -> None:
    series = store.numbers()
    for value in range(12):
        series.insert("a", [value, value + 0.5], timestamp=90 + value % 2)
        clock.now -= value % 3
    expected = [value / 2 for value in range(24)]
    assert series.get("a", "minute", timestamp=90) == {60: expected}
    assert series.get("a", "hour", timestamp=90, condense=True) == {0: expected}


def test_a_gauge_keeps_what_was_written_last_whatever_its_timestamp(
    store: Store, clock: Clock
) -> None:
    series = store.numbers("gauge")
    series.insert("a", 3, timestamp=110)
    series.insert("a", [5, 4], timestamp=70)
    clock.now -= 50
    series.insert("a", 7, timestamp=60)
    assert series.get("a", "minute", timestamp=90) == {60: 7}
    series.bulk_insert({100: {"a": [1, 2]}, 61: {"a": [9, 8]}})
    assert series.get("a", "minute", timestamp=90) == {60: 8}


# --- an insert is named ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_the_same_event_counts_once(store: Store, kind: str, clock: Clock) -> None:
    store.needs_events()
    series = store.numbers(kind)
    for _ in range(3):
        series.insert("a", 3, timestamp=90, id="order-1")
    series.insert("a", 5, timestamp=90, id="order-2")
    again = store.again(series)
    again.insert("a", 3, timestamp=90, id="order-1")
    again.bulk_insert([(90, "a", 5, "order-2"), (90, "b", 3, "order-1"), (90, "b", 5, "order-2")])
    for name in "ab":
        assert series.get(name, "minute", timestamp=90) == {60: ROWS[kind]}
        assert series.get(name, "hour", timestamp=90) == {60: ROWS[kind]}
    assert series.list() == ["a", "b"]


# --- several series ----------------------------------------------------------------------------------


def test_intervals_and_names_do_not_meet(store: Store) -> None:
    series = store.numbers("count")
    for number, name in enumerate(("a", "a:minute", "b", "a:minute:1"), 1):
        series.insert(name, number, timestamp=90)
    for number, name in enumerate(("a", "a:minute", "b", "a:minute:1"), 1):
        assert series.get(name, "minute", timestamp=90) == {60: number}
        assert series.get(name, "hour", timestamp=90) == {60: number}
    assert series.list() == sorted(["a", "a:minute", "b", "a:minute:1"])


def test_a_second_object_reads_and_adds_to_the_same_series(store: Store) -> None:
    for kind in TYPES:
        one = store.numbers(kind)
        one.insert("a", 3, timestamp=90)
        two = store.again(one)
        two.insert("a", 5, timestamp=90)
        assert one.get("a", "minute", timestamp=90) == {60: ROWS[kind]}
        assert two.get("a", "hour", timestamp=90) == {60: ROWS[kind]}


def test_a_refused_insert_writes_into_no_interval(store: Store) -> None:
    series = store.make("count", {**MINUTE, **HOUR, "year": {"step": "yearly"}})
    with pytest.raises(KairosException):
        series.insert("a", 1, timestamp=10**13)
    assert store.look() == []


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_a_server_that_has_forgotten_the_scripts(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    for value in (1, 2, 3):
        series.insert("a", value, timestamp=90)
        if store.name != "fakeredis":  # which runs none
            store.client.script_flush()
    expected = {"series": [1, 2, 3], "histogram": {1: 1, 2: 1, 3: 1}, "count": 6, "gauge": 3}
    got = series.get("a", "minute", timestamp=90)
    assert got == {60: expected.get(kind, {1, 2, 3})}
    assert series.get("a", "hour", timestamp=90) == got
