"""What the core promises of every backend, on a third party's: a complete one in memory."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos.exceptions import (
    DamagedData,
    InvalidType,
    InvalidValue,
    KairosException,
    TooManyBuckets,
    UnknownInterval,
    UnknownTransform,
)
from kairos.pipeline import ReadPlan
from tests.support.memory_backend import Bucket, Memory, MemoryBackend, MemorySeries

NOW = 1_388_361_600  # 2013-12-30 00:00:00, the Monday of a week that a New Year cuts in two
INTERVALS: dict[str, dict[str, Any]] = {
    "minute": {"step": 60, "steps": 5},
    "hour": {"step": "1h", "resolution": "15min", "steps": 3},
    "week": {"step": "weekly", "resolution": "daily"},
    "year": {"step": "yearly"},
}
TYPES = ("series", "histogram", "count", "gauge", "set")
every_type = pytest.mark.parametrize("kind", TYPES)
EMPTY: dict[str, Any] = {"series": [], "histogram": {}, "count": 0, "gauge": None, "set": set()}


class Clock:
    """Stand for ``time.time``."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        """Return the time that it stands at."""
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock; a test moves it by setting ``clock.now``."""
    stopped = Clock()
    monkeypatch.setattr(time, "time", stopped)
    return stopped


def make(kind: str = "series", memory: Memory | None = None, **options: Any) -> Any:
    """Return a series in memory."""
    options.setdefault("intervals", INTERVALS)
    return MemoryBackend(memory or Memory(), type=kind, **options)


def row(kind: str, values: list[Any]) -> Any:
    """Return the row of a type that has had some values inserted."""
    return {
        "series": values,
        "histogram": dict(Counter(values)),
        "count": sum(values) if kind == "count" else 0,
        "gauge": values[-1],
        "set": set(values),
    }[kind]


# --- writing and reading back ----------------------------------------------------------------------------


@every_type
def test_insert_and_get(kind: str) -> None:
    series = make(kind)
    for value, after in ((3, 0), (1, 59), (3, 20), (2, 60)):
        series.insert("a", value, timestamp=NOW + after)
    assert series.get("a", "minute", timestamp=NOW + 30) == {NOW: row(kind, [3, 1, 3])}
    assert series.get("a", "minute", timestamp=NOW + 60) == {NOW + 60: row(kind, [2])}
    assert series.get("a", "minute", timestamp=NOW + 120) == {NOW + 120: EMPTY[kind]}
    assert series.get("b", "minute") == {NOW: EMPTY[kind]}
    assert series.get("a", "hour") == {NOW: row(kind, [3, 1, 3, 2])}
    assert series.get("b", "hour") == {}
    assert series.get("b", "hour", condense=True) == {NOW: EMPTY[kind]}
    for interval in INTERVALS:
        assert type(series.get("a", interval)) is OrderedDict


def test_timestamp_zero_is_one() -> None:
    series = make(intervals={"minute": {"step": 60}})
    series.insert("a", 1, timestamp=0)
    series.insert("a", 2, timestamp=-0.5)
    series.insert("a", 3, timestamp=datetime(1970, 1, 1, 2, 0, 30, tzinfo=timezone(timedelta(hours=2))))
    assert series.get("a", "minute", timestamp=0) == {0: [1, 3]}
    assert series.get("a", "minute", timestamp=-1) == {-60: [2]}
    assert series.get("a", "minute") == {NOW: []}


@every_type
@pytest.mark.parametrize("container", [list, tuple, set, frozenset])
def test_elements_are_inserted_one_by_one(kind: str, container: Callable[[Any], Any]) -> None:
    series = make(kind)
    series.insert("a", container([1, 2, 3]))
    series.insert("a", container([]))
    assert series.get("a", "minute") == {NOW: row(kind, [1, 2, 3])}
    series.insert("b", container([]))
    assert series.list() == ["a"]


def test_counts() -> None:
    series = make("count")
    series.insert("a")
    series.insert("a", "5")
    series.insert("a", value=0.5)
    series.insert("a", -1)
    assert series.get("a", "year") == {1356998400: 5.5}
    with pytest.raises(InvalidType, match="insert into a series needs a value"):
        make("series").insert("a")


@every_type
def test_functions_work_on_each_value(kind: str) -> None:
    series = make(kind, write_func=lambda value: value * 2, read_func=lambda value: value + 1)
    series.insert("a", [1, 2])
    series.bulk_insert({NOW: {"a": [2]}})
    read: Any = {
        "series": [3, 5, 5],
        "histogram": {3: 1, 5: 2},
        "count": 11,
        "gauge": 5,
        "set": {3, 5},
    }
    assert series.get("a", "minute") == {NOW: read[kind]}


@every_type
@pytest.mark.parametrize("steps", [2, -2])
def test_intervals(kind: str, steps: int) -> None:
    series = make(kind, intervals={"minute": {"step": 60}, "week": {"step": "weekly", "resolution": "1d"}})
    series.insert("a", 7, timestamp=NOW + 3 * 86400 + 5, intervals=steps)
    at = NOW + 3 * 86400
    minutes = sorted(at + 60 * step for step in (0, steps // 2, steps))
    found = series.series("a", "minute", start=minutes[0], end=minutes[-1])
    assert found == {minute: row(kind, [7]) for minute in minutes}
    # Of the week itself the day, of the others the start: whole weeks are 7 days apart.
    weeks = dict(series.iterate("a", "week"))
    sunday = at - 4 * 86400
    assert weeks == {
        day: row(kind, [7]) for day in {at, *(sunday + 7 * 86400 * step for step in (steps // 2, steps))}
    }


def test_arguments_are_left_alone() -> None:
    series = make("gauge")
    values = [1, 2]
    inserts = OrderedDict([(None, {"a": values}), (NOW, OrderedDict(a=(3,)))])
    series.bulk_insert(inserts)
    series.insert("a", values)
    assert values == [1, 2]
    assert inserts == {None: {"a": [1, 2]}, NOW: {"a": (3,)}}


@every_type
def test_rows_are_the_callers_to_keep(kind: str) -> None:
    series = make(kind)
    series.insert("a", [1, 2])
    first = series.get("a", "year")
    kept = first[1356998400]
    if isinstance(kept, (list, dict, set)):
        kept.clear()
    assert series.get("a", "year") == {1356998400: row(kind, [1, 2])}


# --- retention -------------------------------------------------------------------------------------------


def test_retention_counts_from_the_bucket(clock: Clock) -> None:
    series = make()
    clock.now = NOW + 30
    series.insert("a", "now")
    series.insert("a", "before", timestamp=NOW - 61)
    series.insert("a", "long before", timestamp=NOW - 600)
    expected = {NOW: 300, NOW - 120: 180, NOW - 600: 60}
    (table,) = [
        table for (_, _, interval), table in series._client.tables.items() if interval == "minute"
    ]
    lifetimes = {60 * bucket: its.expires - clock.now for bucket, its in table.items()}
    assert lifetimes == expected
    assert series.get("a", "minute", timestamp=NOW - 600) == {NOW - 600: ["long before"]}
    clock.now += 60
    assert series.get("a", "minute", timestamp=NOW - 600) == {NOW - 600: []}
    assert series.get("a", "minute", timestamp=NOW - 61) == {NOW - 120: ["before"]}
    assert series.expire() == series.expire("a") == 0


def test_retention_of_further_steps(clock: Clock) -> None:
    series = make()
    series.insert("a", 1, intervals=2)
    series.bulk_insert({NOW: {"b": [1]}}, intervals=2)
    for name in "ab":
        table = series._client.tables["series", name, "minute"]
        assert {60 * bucket - NOW: its.expires - NOW for bucket, its in table.items()} == {
            0: 300,
            60: 360,
            120: 420,
        }


# --- ranges ----------------------------------------------------------------------------------------------


def steps_after(interval: str, start: int, steps: int) -> int:
    """Return the start of the bucket of an interval that is so many steps after that of a second."""
    when = datetime.fromtimestamp(start, timezone.utc)
    if interval in ("minute", "hour"):
        size = {"minute": 60, "hour": 3600}[interval]
        return (start // size + steps) * size
    midnight = when.replace(hour=0, minute=0, second=0)
    if interval == "year":
        return int(midnight.replace(year=midnight.year + steps, month=1, day=1).timestamp())
    moved = midnight + timedelta(weeks=steps)
    sunday = moved - timedelta(days=(moved.weekday() + 1) % 7)
    return int(max(sunday, moved.replace(month=1, day=1)).timestamp())


def following(interval: str, start: int) -> int:
    """Return the start of the next bucket of an interval."""
    size = {"minute": 60, "hour": 3600}.get(interval)
    if size:
        return start + size
    day = start + 86400
    while steps_after(interval, day, 0) == start:
        day += 86400
    return day


moments = st.integers(NOW - 5000, NOW + 5000) | st.integers(NOW - 10**7, NOW + 10**7)


@given(
    interval=st.sampled_from(sorted(INTERVALS)),
    start=st.none() | moments,
    end=st.none() | moments,
    steps=st.none() | st.integers(0, 9),
)
def test_range(interval: str, start: int | None, end: int | None, steps: int | None) -> None:
    if start is not None and end is not None and interval in ("minute", "hour"):
        end = min(end, start + 10**5)
    found = list(make().series("a", interval, start=start, end=end, steps=steps))
    count = steps or INTERVALS[interval].get("steps") or 1
    if start is not None and end is not None:
        first, last = steps_after(interval, start, 0), max(start, end)
    elif start is not None:
        first, last = steps_after(interval, start, 0), steps_after(interval, start, count - 1)
    else:
        last = NOW if end is None else end
        first = steps_after(interval, last, 1 - count)
    expected = [first]
    while following(interval, expected[-1]) <= last:
        expected.append(following(interval, expected[-1]))
    assert found == expected
    if interval in ("minute", "hour", "year") and (start is None or end is None):
        assert len(found) == count


def test_weeks_around_new_year() -> None:
    series = make("count")
    for day in range(-2, 8):
        series.insert("a", 1, timestamp=NOW + day * 86400)
    new_year = NOW + 2 * 86400
    found = series.series("a", "week", start=NOW, end=new_year, condense=True)
    assert found == {NOW - 86400: 3, new_year: 4}
    assert series.series("a", "week", start=NOW, end=new_year, collapse=True) == {NOW - 86400: 7}
    rate = series.series("a", "week", start=NOW, end=new_year, condense=True, transform="rate")
    assert rate == {NOW - 86400: 3 / (3 * 86400), new_year: 4 / (4 * 86400)}


def test_too_many_buckets() -> None:
    series = make()
    with pytest.raises(TooManyBuckets, match="read it in parts, or with iterate"):
        series.series("a", "minute", start=0, end=NOW)
    with pytest.raises(TooManyBuckets):
        make(intervals={"second": {"step": 1, "steps": 10**7}}).series("a", "second")


# --- the stages, through the public calls ----------------------------------------------------------------


@pytest.fixture
def two() -> Any:
    """Return a series with two names in two hours."""
    series = make(intervals={"hour": INTERVALS["hour"], "minute": {"step": 60}})
    for name, value, after in (("a", 1, 0), ("b", 2, 10), ("a", 3, 900), ("b", 4, 3600), ("a", 5, 7200)):
        series.insert(name, value, timestamp=NOW + after)
    return series


def test_stages(two: Any) -> None:
    start, end = NOW, NOW + 7200
    assert two.series("a", "hour", start=start, end=end) == {
        NOW: {NOW: [1], NOW + 900: [3]},
        NOW + 3600: {},
        NOW + 7200: {NOW + 7200: [5]},
    }
    both = ["a", "b"]
    assert two.series(both, "hour", start=start, end=end, condense=True) == {
        NOW: [1, 2, 3],
        NOW + 3600: [4],
        NOW + 7200: [5],
    }
    assert two.series(both, "hour", start=start, end=end, condense=True, join_rows=list) == {
        NOW: [[1, 3], [2]],
        NOW + 3600: [[], [4]],
        NOW + 7200: [[5], []],
    }
    assert two.get(both, "hour", timestamp=NOW, join_rows=list) == {NOW: [[1], [2]], NOW + 900: [[3], None]}
    assert two.series(both, "hour", start=start, end=end, collapse=True, transform="mean") == {NOW: 3.0}
    seen: list[Any] = []
    two.series("a", "hour", start=start, end=end, collapse=lambda rows: seen.append(dict(rows)))
    assert seen == [{NOW: [1, 3], NOW + 3600: [], NOW + 7200: [5]}]
    assert two.series("a", "hour", start=start, end=end, condense=len, collapse=True) == {NOW: 3}
    assert two.get("a", "hour", timestamp=NOW, process_row=len) == {NOW: 1, NOW + 900: 1}
    assert two.get(("b", "a", "c"), "hour", timestamp=NOW, condense=True) == {NOW: [2, 1, 3]}
    assert two.get({"b", "a"}, "hour", timestamp=NOW, condense=True) == {NOW: [1, 2, 3]}
    assert two.get(["a"], "minute", timestamp=NOW) == {NOW: [1]}


def test_keywords_given_as_none_are_not_given(two: Any) -> None:
    nothing = dict.fromkeys(("transform", "condense", "fetch", "process_row", "join_rows", "condensed"))
    assert two.get("a", "hour", timestamp=NOW, **nothing) == two.get("a", "hour", timestamp=NOW)
    nothing |= dict.fromkeys(("start", "collapse"))
    assert two.series("a", "hour", end=NOW, steps=0, **nothing) == two.series("a", "hour", end=NOW)


def test_condensed_is_deprecated(two: Any) -> None:
    for read, more in (
        (two.get, {"timestamp": NOW}),
        (two.series, {"start": NOW, "end": NOW}),
    ):
        with pytest.warns(DeprecationWarning, match="condensed is deprecated, use condense") as caught:
            assert read("a", "hour", condensed=True, **more) == {NOW: [1, 3]}
        assert caught[0].filename == __file__
        with pytest.warns(DeprecationWarning, match="deprecated"):
            assert read("a", "hour", condensed=True, condense=len, **more) == {NOW: 2}
    with pytest.warns(DeprecationWarning, match="deprecated") as caught:
        found = two.iterate("a", "hour", condensed=True)
    assert caught[0].filename == __file__
    assert list(found) == [(NOW, [1, 3]), (NOW + 3600, []), (NOW + 7200, [5])]


def test_fetch(two: Any) -> None:
    asked: list[Any] = []

    def fetch(memory: Memory, name: str, interval: str, bucket: int) -> Any:
        asked.append((name, interval, bucket))
        return {None: ["fetched"]} if bucket % 2 else {}

    buckets = [NOW // 60, NOW // 60 + 1]
    found = two.series("a", "minute", start=NOW, steps=2, fetch=fetch, transform="count")
    assert found == {60 * bucket: bucket % 2 for bucket in buckets}
    assert asked == [("a", "minute", bucket) for bucket in buckets]


def test_gauge_without_data() -> None:
    def lenient(value: Any) -> Any:
        return f"<{value}>"

    plain, strict, kind = make("gauge"), make("gauge", read_func=float), make("gauge", read_func=lenient)
    assert plain.get("a", "minute") == strict.get("a", "minute") == {NOW: None}
    assert kind.get("a", "minute") == {NOW: "<>"}
    # As such it is not set, and does not win over what is.
    kind.insert("a", "x", timestamp=NOW)
    assert kind.series("a", "minute", start=NOW, steps=3, collapse=True) == {NOW: "<x>"}
    assert kind.get(["a", "b"], "minute") == {NOW: "<x>"}
    assert kind.get(["b", "c"], "minute") == {NOW: None}
    assert kind.get(["a", "b"], "minute", join_rows=list) == {NOW: ["<x>", "<>"]}


@pytest.mark.parametrize("value", [0, "", False])
def test_gauge_of_nothing_much_is_set(value: Any) -> None:
    series = make("gauge")
    series.insert("a", 5)
    series.insert("a", value, timestamp=NOW + 900)
    assert series.get("a", "hour", condense=True) == {NOW: value}
    assert series.series("a", "minute", start=NOW, end=NOW + 1000, collapse=True) == {NOW: value}


def test_damaged_data_is_named() -> None:
    series = make("histogram")
    series._client.tables["histogram", "a", "minute"] = {NOW // 60: Bucket({None: {"x": 1}}, None)}

    def process(raw: Any) -> Any:
        raise DamagedData("not a histogram")

    with pytest.raises(DamagedData, match=r"^histogram 'a', minute 23139360/None: not a histogram$"):
        series.get("a", "minute", process_row=process)


# --- what the store answers by itself --------------------------------------------------------------------


class Watched(MemorySeries):
    """A series that remembers what it was asked for."""

    asked: list[ReadPlan]

    def _fetch(self, plan: ReadPlan) -> Any:
        self.asked.append(plan)
        return super()._fetch(plan)


READS: list[tuple[str, Any, dict[str, Any]]] = [
    ("hour", "a", {}),
    ("hour", "a", {"condense": True}),
    ("hour", ["a", "b"], {}),
    ("hour", ["a", "b", "c"], {"condense": True}),
    ("hour", ["a", "b"], {"collapse": True}),
    ("minute", "a", {}),
    ("minute", ["a", "b"], {}),
    ("minute", "c", {"collapse": True}),
]


@pytest.mark.parametrize(("interval", "name", "stages"), READS)
@pytest.mark.parametrize("transform", ["count", "rate", ["count", "rate"], {"n": "count"}])
def test_pushed_down_or_not(interval: str, name: Any, stages: dict[str, Any], transform: Any) -> None:
    series = Watched(Memory(), intervals=INTERVALS)
    series.asked = []
    for who, after in itertools.product("ab", (0, 10, 70, 1000, 5000)):
        series.insert(who, 1, timestamp=NOW + after)
    read = {"start": NOW, "end": NOW + 8000, "transform": transform, **stages}
    pushed = series.series(name, interval, **read)
    plan = series.asked[-1]
    assert plan.partials == {"count"}
    assert plan.condense is (interval == "hour" and bool(stages))
    plain = series.series(name, interval, process_row=series._each, **read)
    assert not series.asked[-1].partials
    assert repr(pushed) == repr(plain)


@pytest.mark.parametrize(
    "stages",
    [
        {"transform": "mean"},
        {"transform": ["count", len]},
        {"transform": len},
        {"transform": []},
        {"transform": "count", "condense": len},
        {"transform": "count", "collapse": len},
        {"transform": "count", "join_rows": list},
        {"transform": "count", "process_row": len},
        {"transform": "count", "fetch": lambda *where: {None: [1]}},
    ],
)
def test_rows_are_fetched_where_they_are_needed(stages: dict[str, Any]) -> None:
    series = Watched(Memory(), intervals=INTERVALS)
    series.asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kairos.timeseries.finish", lambda *arguments: OrderedDict())
        series.series("a", "minute", **stages)
    assert not series.asked[0].partials


def test_rate_of_a_histogram_is_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    series = make("histogram")
    series.insert("a", ["x", "x", "y"])
    monkeypatch.setattr(type(series), "_partials", lambda *arguments: frozenset({"count", "sum"}))
    assert series.get("a", "minute", transform="rate") == {NOW: {"x": 2 / 60, "y": 1 / 60}}
    assert make("histogram").get("a", "minute", transform="rate") == {NOW: {}}


def test_names_of_other_types_return_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    series = make("count")
    series.insert("a", 5)
    monkeypatch.setattr(type(series), "_partials", lambda *arguments: frozenset({"count", "sum", "min"}))
    for name in ("mean", "count", "sum", "min"):
        assert series.get("a", "minute", transform=name) == {NOW: 5}


# --- iterating -------------------------------------------------------------------------------------------


@every_type
def test_iterate(kind: str) -> None:
    series = make(kind, intervals={"minute": {"step": 60}, "hour": {"step": 3600, "resolution": 60}})
    for after in (120, 0, 200, 7300):
        series.insert("a", 1, timestamp=NOW + after)
    minutes = dict(series.iterate("a", "minute"))
    assert list(minutes) == [NOW + 60 * minute for minute in range(122)]
    assert minutes[NOW + 180] == row(kind, [1])
    assert minutes[NOW + 60] == EMPTY[kind]
    # With resolutions those that hold data, condensed every hour.
    assert list(series.iterate("a", "hour")) == [
        (NOW + after, row(kind, [1])) for after in (0, 120, 180, 7260)
    ]
    assert [timestamp for timestamp, _ in series.iterate("a", "hour", condense=True)] == [
        NOW,
        NOW + 3600,
        NOW + 7200,
    ]
    assert list(series.iterate("b", "hour")) == []
    series.insert("b", 1, timestamp=NOW - 60)
    joined = dict(series.iterate(["a", "b"], "minute", transform=lambda its, duration: duration))
    assert set(joined.values()) == {60}
    assert len(joined) == 123


def test_iterate_reads_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    series = Watched(Memory(), intervals={"minute": {"step": 60}, "day": {"step": "1d", "resolution": 60}})
    series.asked = []
    ten_years = 10 * 365 * 86400
    series.insert("a", 1, timestamp=0)
    series.insert("a", 1, timestamp=ten_years)
    found = series.iterate("a", "minute")
    assert not series.asked
    assert sum(len(its) for _, its in itertools.islice(found, 5000)) == 1
    assert [len(plan.buckets) for plan in series.asked] == [1000] * 5
    series.asked.clear()
    assert list(series.iterate("a", "day")) == [(0, [1]), (ten_years, [1])]
    # As many rows at once, and so fewer buckets.
    assert {len(plan.buckets) for plan in series.asked} == {1}


def test_iterate_checks_at_once() -> None:
    series = make()
    for error, keywords in (
        (UnknownTransform, {"transform": "median"}),
        (InvalidType, {"fetch": 5}),
        (InvalidType, {"collapse": True}),
        (InvalidType, {"start": NOW}),
    ):
        with pytest.raises(error):
            series.iterate("a", "minute", **keywords)
    with pytest.raises(UnknownInterval):
        series.iterate("a", "second")
    with pytest.raises(InvalidValue):
        series.iterate("", "minute")


# --- events ----------------------------------------------------------------------------------------------


@every_type
def test_events_count_once(kind: str, clock: Clock) -> None:
    series = make(kind, remember="1h")
    for _ in range(3):
        series.insert("a", 1, id="order-123")
    series.bulk_insert([(None, "a", 1, "order-123"), (None, "a", 2, "order-124")])
    expected = row(kind, [1, 2])
    assert series.get("a", "year") == {1356998400: expected}
    # Another name, another type and another set of intervals are told of the same event by themselves.
    series.insert("b", 1, id="order-123")
    assert series.get("b", "minute") == {NOW: row(kind, [1])}
    other = make(kind, series._client, intervals={"second": {"step": 1}})
    other.insert("a", 1, id="order-123")
    assert other.get("a", "second") == {NOW: row(kind, [1])}
    clock.now += 3601
    series.insert("a", 1, id="order-123")
    assert series.get("a", "year") == {1356998400: row(kind, [1, 2, 1])}


def test_deleting_everything_forgets_events() -> None:
    series = make("count")
    series.insert("a", id="x")
    assert series.delete_all() == len(INTERVALS)
    series.insert("a", id="x")
    assert series.get("a", "minute") == {NOW: 1}


def test_ids() -> None:
    series = make("count")
    its = uuid.uuid4()
    for same in ((5, "5"), (its, str(its)), (Color.RED, "red")):
        for id in same:
            series.insert("a", id=id)
    assert series.get("a", "minute") == {NOW: 3}
    for bad in (1.5, b"x", True, [], {}, object()):
        with pytest.raises(InvalidType, match="id must be text, a whole number or a UUID"):
            series.insert("a", id=bad)
    with pytest.raises(InvalidValue, match="id must not be empty"):
        series.insert("a", id="")
    # No id, no claim.
    series.insert("a", id=None)
    assert series.get("a", "minute") == {NOW: 4}


# --- housekeeping ----------------------------------------------------------------------------------------


@every_type
def test_housekeeping(kind: str) -> None:
    series = make(kind)
    other = make(kind, series._client, prefix="app")
    assert series.list() == []
    for name in ("a", "ab", "a:*?[b]\n", "é"):
        series.insert(name, 1)
    series.insert("a", 1, timestamp=NOW - 86400)
    other.insert("a", 1)
    assert other.list() == ["a"]
    assert series.properties("a") == {
        "minute": {"first": NOW - 86400, "last": NOW},
        "hour": {"first": NOW - 86400, "last": NOW},
        "week": {"first": NOW - 86400, "last": NOW - 86400},
        "year": {"first": 1356998400, "last": 1356998400},
    }
    assert series.properties("nothing") == {}
    assert series.delete("a") == 6
    assert series.delete("a") == 0
    assert series.properties("a") == {}
    assert "ab" in series.list()
    assert other.delete_all() == 4


# --- bad input -------------------------------------------------------------------------------------------


class Color(str, Enum):
    """An enumeration of names."""

    RED = "red"


def test_enumerations_are_their_values() -> None:
    series = make(intervals={Color.RED: {"step": 60}})
    series.insert(Color.RED, 1)
    series.bulk_insert({NOW: {Color.RED: [2]}})
    series.bulk_insert([(NOW, Color.RED, 3)])
    assert series.list() == ["red"]
    for name in ("red", Color.RED):
        assert series.get(name, Color.RED) == series.get([name], "red") == {NOW: [1, 2, 3]}


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", None, 5, b"a", {"$gt": ""}, ("a",)])
def test_bad_name(name: Any) -> None:
    series = make()
    calls: list[Callable[[], Any]] = [
        lambda: series.insert(name, 1),
        lambda: series.bulk_insert([(NOW, name, 1)]),
        lambda: series.get([name], "minute"),
        lambda: series.series(["a", name], "minute"),
        lambda: series.iterate({name} if isinstance(name, str) else [name], "minute"),
        lambda: series.properties(name),
        lambda: series.delete(name),
        lambda: series.expire(0 if name is None else name),
    ]
    for call in calls:
        with pytest.raises((InvalidValue, InvalidType), match="name"):
            call()
    assert series.list() == []


def test_empty_list_of_names() -> None:
    with pytest.raises(InvalidValue, match="name must not be an empty list"):
        make().get([], "minute")


@pytest.mark.parametrize("timestamp", [float("nan"), float("inf"), "now", datetime(2013, 1, 1)])
def test_bad_timestamp(timestamp: Any) -> None:
    series = make()
    calls: list[Callable[[], Any]] = [
        lambda: series.insert("a", 1, timestamp=timestamp),
        lambda: series.bulk_insert({timestamp: {"a": [1]}}),
        lambda: series.get("a", "minute", timestamp=timestamp),
        lambda: series.series("a", "minute", start=timestamp),
        lambda: series.series("a", "minute", end=timestamp),
    ]
    for call in calls:
        with pytest.raises((InvalidValue, InvalidType), match="timestamp"):
            call()
    assert series.list() == []


def test_unknown_keywords() -> None:
    series = make("count")
    calls: list[Callable[..., Any]] = [
        lambda **more: series.insert("a", 1, **more),
        lambda **more: series.bulk_insert({NOW: {"a": [1]}}, **more),
        lambda **more: series.get("a", "minute", **more),
        lambda **more: series.series("a", "minute", **more),
        lambda **more: series.iterate("a", "minute", **more),
    ]
    for call in calls:
        for keyword in ("pipeline", "transfrom"):
            with pytest.raises(InvalidType, match=f"unknown keyword argument '{keyword}'") as caught:
                call(**{keyword: None})
            assert isinstance(caught.value, (KairosException, TypeError))
            assert isinstance(caught.value, TypeError)
    assert series.list() == []


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"transform": "median"}, UnknownTransform),
        ({"transform": 5}, InvalidType),
        ({"process_row": 5}, InvalidType),
        ({"join_rows": "sum"}, InvalidType),
        ({"fetch": 5}, InvalidType),
        ({"steps": -1}, InvalidValue),
        ({"steps": 1.5}, InvalidType),
        ({"steps": "many"}, InvalidType),
    ],
)
def test_bad_keyword(keywords: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make().series("a", "minute", **keywords)


@pytest.mark.parametrize("interval", ["second", None, 5, ["minute"], {}])
def test_unknown_interval(interval: Any) -> None:
    series = make()
    for read in (series.get, series.series, series.iterate):
        with pytest.raises(UnknownInterval, match="is unknown: this series has 'minute', 'hour'") as caught:
            read("a", interval)
        assert repr(interval) in str(caught.value)


@pytest.mark.parametrize("intervals", [1.5, "2", [], {}])
def test_bad_number_of_steps(intervals: Any) -> None:
    series = make()
    if not intervals:
        series.insert("a", 1, intervals=intervals)
        return
    with pytest.raises(InvalidType, match="a number of steps must be a whole number"):
        series.insert("a", 1, intervals=intervals)
    with pytest.raises(InvalidType, match="a number of steps must be a whole number"):
        series.bulk_insert({NOW: {"a": [1]}}, intervals=intervals)
    assert series.list() == []


def test_values_that_the_store_cannot_hold() -> None:
    for kind in TYPES:
        series = make(kind)
        values: list[Any] = [None, {}, bytearray(b"x")]
        for value in values:
            with pytest.raises((InvalidValue, InvalidType)):
                series.insert("a", value)
        with pytest.raises((InvalidValue, InvalidType)):
            series.bulk_insert({NOW: {"a": [1]}, NOW + 60: {"a": [None]}})
        assert series.list() == []


# --- threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["count", "series"])
def test_threads_lose_nothing(kind: str) -> None:
    series = make(kind, intervals={"minute": {"step": 60}, "day": {"step": "daily", "resolution": 3600}})
    threads, turns = 6, 300

    def moments(number: int) -> Iterator[int]:
        for turn in range(turns):
            yield NOW + (number * 7919 + turn * 104_729) % 5000

    def work(number: int) -> None:
        for moment in moments(number):
            series.insert("a", 1, timestamp=moment)

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    expected = Counter(
        moment // 60 * 60 for number in range(threads) for moment in moments(number)
    )
    size: Callable[[Any], int] = (lambda its: int(its)) if kind == "count" else len
    found = {at: size(its) for at, its in series.iterate("a", "minute") if its}
    assert found == expected
    assert sum(size(its) for _, its in series.iterate("a", "day")) == threads * turns


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series = make()
        series.insert("a", 1)
        series.get("a", "minute", condense=True, transform=["count", len])
