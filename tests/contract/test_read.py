"""``get``, ``series`` and ``iterate``: which buckets they return, and in what shape."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timezone
from typing import Any

import pytest

from kairos.exceptions import KairosException, TooManyBuckets, UnknownInterval

from . import oracle
from .conftest import NOW, Clock
from .store import BOTH, TYPES, Store

EMPTY: dict[str, Any] = {"series": [], "histogram": {}, "count": 0, "gauge": None, "set": set()}
ONE: dict[str, Any] = {"series": [3], "histogram": {3: 1}, "count": 3, "gauge": 3, "set": {3}}


@pytest.mark.parametrize("kind", TYPES)
def test_data_that_is_not_there(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    empty = EMPTY[kind]
    for _ in range(2):
        assert series.get("none", "minute", timestamp=90) == OrderedDict([(60, empty)])
        assert series.get("none", "hour", timestamp=90) == OrderedDict()
        assert series.get("none", "hour", timestamp=90, condense=True) == {0: empty}
        assert series.series("none", "minute", start=90, steps=2) == {60: empty, 120: empty}
        assert series.series("none", "hour", start=90, steps=2) == {0: {}, 3600: {}}
        assert series.series("none", "hour", start=90, steps=2, condense=True) == {
            0: empty,
            3600: empty,
        }
        for interval, first in (("minute", 60), ("hour", 0)):
            got = series.series("none", interval, start=90, steps=2, collapse=True)
            assert got == {first: empty}
        got = series.get(["none", "neither"], "minute", timestamp=90)
        assert got == {60: empty}
        assert type(got[60]) is type(empty)
        assert series.get(["none", "neither"], "hour", timestamp=90) == {}
        assert list(series.iterate("none", "minute")) == []
        assert series.properties("none") == {}
        series.insert("other", 3, timestamp=90)


@pytest.mark.parametrize("kind", ["series", "histogram", "set"])
def test_an_empty_row_is_the_callers_own(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    rows = series.series("a", "minute", start=60, steps=2)
    change = {
        "series": lambda row: row.append(5),
        "histogram": lambda row: row.update({1: 1}),
        "set": lambda row: row.add(5),
    }[kind]
    change(rows[60])
    assert rows[120] == EMPTY[kind]
    assert series.get("a", "minute", timestamp=90) == {60: EMPTY[kind]}


@pytest.mark.parametrize("kind", TYPES)
def test_results_are_ordered_and_keyed_by_whole_seconds(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    for timestamp in (3599, 90.5, 600, 0, -5):
        series.insert("a", 3, timestamp)
    got = series.get("a", "hour", timestamp=90.9)
    assert isinstance(got, OrderedDict)
    assert list(got) == [0, 60, 600, 3540]
    rows = series.series("a", "hour", start=-3600.5, end=90.7)
    assert isinstance(rows, OrderedDict)
    assert list(rows) == [-7200, -3600, 0]
    assert all(isinstance(row, OrderedDict) for row in rows.values())
    assert list(rows[0]) == [0, 60, 600, 3540]
    assert list(rows[-3600]) == [-60]
    keys = [*got, *rows, *rows[0], *series.get("a", "minute", timestamp=90.5)]
    keys += [at for at, _ in series.iterate("a", "minute")]
    assert {type(key) for key in keys} == {int}


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"start": 300, "end": 420}, [300, 360, 420]),
        ({"start": 359, "end": 420}, [300, 360, 420]),
        ({"start": 300, "end": 479}, [300, 360, 420]),
        ({"start": 300, "end": 300}, [300]),
        ({"start": 300.5, "end": 359.9}, [300]),
        ({"start": 300, "steps": 2}, [300, 360]),
        ({"start": 359, "steps": 2}, [300, 360]),
        ({"end": 359, "steps": 2}, [240, 300]),
        ({"end": 300, "steps": 1}, [300]),
        ({"start": 300, "end": 420, "steps": 9}, [300, 360, 420]),
        ({"start": 420, "end": 300}, [420]),
        ({"start": 420, "end": 300, "steps": 3}, [420]),
        ({"start": 0, "steps": 2}, [0, 60]),
        ({"end": 0, "steps": 2}, [-60, 0]),
        ({"start": -1, "end": 0}, [-60, 0]),
        ({"start": 300}, [300]),
        ({"end": 300}, [300]),
        ({"start": 300, "steps": 0}, [300]),
        ({"start": 300, "steps": None, "end": None}, [300]),
        (
            {
                "start": datetime(1970, 1, 1, 0, 5, tzinfo=timezone.utc),
                "end": datetime(1970, 1, 1, 0, 6, 59, tzinfo=timezone.utc),
            },
            [300, 360],
        ),
    ],
)
def test_a_range_holds_the_intervals_of_both_ends(
    store: Store, span: dict[str, Any], expected: list[int]
) -> None:
    series = store.numbers("count")
    for timestamp in range(-180, 600, 60):
        series.insert("a", 3, timestamp + 5)
    assert series.series("a", "minute", **span) == dict.fromkeys(expected, 3)
    assert list(series.series("none", "minute", **span)) == expected
    got = series.series("a", "minute", collapse=True, **span)
    assert got == {expected[0]: 3 * len(expected)}


def test_steps_default_to_those_of_the_interval(store: Store, clock: Clock) -> None:
    series = store.numbers("count", {"minute": {"step": 60, "steps": 3}, "hour": {"step": "1h"}})
    now = NOW // 60 * 60
    for minute in range(-5, 3):
        series.insert("a", 1, NOW + 60 * minute)
    assert series.series("a", "minute") == {now - 120: 1, now - 60: 1, now: 1}
    assert series.series("a", "minute", steps=2) == {now - 60: 1, now: 1}
    assert series.series("a", "minute", start=NOW - 120) == {now - 120: 1, now - 60: 1, now: 1}
    assert series.series("a", "minute", end=NOW - 60) == {now - 180: 1, now - 120: 1, now - 60: 1}
    assert list(series.series("a", "minute", start=NOW + 60)) == [now + 60, now + 120, now + 180]
    assert list(series.series("a", "hour")) == [NOW // 3600 * 3600]
    assert series.get("a", "minute") == {now: 1}


@pytest.mark.parametrize(
    ("step", "start", "end", "steps"),
    [
        ("daily", 1393545600, 1393804800, 4),
        ("weekly", 1387497600, 1389657600, 5),
        ("monthly", 1380585600, 1393632000, 4),
        ("yearly", 1325376000, 1420070400, 3),
    ],
)
def test_gregorian_ranges_have_no_gap(
    store: Store, step: str, start: int, end: int, steps: int
) -> None:
    configurations = {"it": {"step": step}}
    series = store.numbers("count", configurations)
    model = oracle.Model("count", configurations)
    for timestamp in range(start, end, 6 * 86400):
        series.insert("a", 1, timestamp)
        model.insert("a", 1, timestamp)
    for span in (
        {"start": start, "end": end},
        {"start": start, "steps": steps},
        {"end": end, "steps": steps},
    ):
        got = series.series("a", "it", **span)
        assert got == model.series("a", "it", **span)
        assert len(got) >= 3
    if step == "weekly":
        # The week that New Year cuts in two.
        assert {1388275200, 1388534400, 1388880000} <= set(got)


def test_a_million_intervals_are_refused_and_iterated(store: Store) -> None:
    series = store.numbers("count", {"second": {"step": 1}, "minute": {"step": 60}})
    series.insert("a", 1, 0)
    with pytest.raises(TooManyBuckets, match="iterate"):
        series.series("a", "second", start=0, end=10**6)
    with pytest.raises(ValueError, match="million"):
        series.series("a", "second", start=0, steps=10**7)
    series.insert("a", 2, 60 * 2500)
    got = list(series.iterate("a", "minute"))
    assert len(got) == 2501
    assert got[0] == (0, 1)
    assert got[-1] == (150000, 2)
    assert sum(row for _, row in got) == 3
    assert [at for at, _ in got] == list(range(0, 150001, 60))


@pytest.mark.parametrize("kind", TYPES)
def test_iterate_yields_every_possible_bucket(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    for timestamp in (90, 300, 7300):
        series.insert("a", 3, timestamp)
    series.insert("b", 3, 30)
    coarse = list(series.iterate("a", "minute"))
    assert [at for at, _ in coarse] == list(range(60, 7261, 60))
    assert [(at, row) for at, row in coarse if row != EMPTY[kind]] == [
        (60, ONE[kind]),
        (300, ONE[kind]),
        (7260, ONE[kind]),
    ]
    assert list(series.iterate("a", "hour")) == [(at, ONE[kind]) for at in (60, 300, 7260)]
    condensed = list(series.iterate("a", "hour", condense=True))
    assert [at for at, _ in condensed] == [0, 3600, 7200]
    assert condensed[1] == (3600, EMPTY[kind])
    both = list(series.iterate(["a", "b"], "hour"))
    assert [at for at, _ in both] == [0, 60, 300, 7260]
    lengths = list(series.iterate("a", "minute", transform=lambda row: row == EMPTY[kind]))
    assert [is_empty for _, is_empty in lengths].count(False) == 3


def test_iterate_checks_its_arguments_at_once_and_reads_as_it_goes(store: Store) -> None:
    series = store.numbers("count")
    with pytest.raises(UnknownInterval):
        series.iterate("a", "nonsense")
    with pytest.raises(TypeError, match="colapse"):
        series.iterate("a", "minute", colapse=True)
    with pytest.raises(TypeError):
        series.iterate(5, "minute")
    series.insert("a", 3, 90)
    iterator = series.iterate("a", "minute")
    assert next(iterator) == (60, 3)
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("names", [["a", "b"], ("a", "b"), {"a", "b"}, frozenset("ab")])
def test_names_may_come_in_any_collection(store: Store, names: Any) -> None:
    series = store.numbers("series")
    series.insert("a", 3, 90)
    series.insert("b", 5, 90)
    series.insert("b", 7, 30)
    assert series.get(names, "minute", timestamp=90) == {60: [3, 5]}
    assert series.get(names, "hour", timestamp=90) == {0: [7], 60: [3, 5]}
    assert series.series(names, "hour", start=0, condense=True) == {0: [7, 3, 5]}
    assert series.get(["b"], "minute", timestamp=90) == {60: [5]}
    assert series.get(["a", "a"], "minute", timestamp=90) == {60: [3, 3]}


KEYWORDS = ("transform", "condense", "fetch", "process_row", "join_rows")


def test_none_is_as_not_given(store: Store, clock: Clock) -> None:
    series = store.numbers("series", {**BOTH, "minute": {"step": 60, "steps": 2}})
    series.insert("a", 3, timestamp=None, intervals=0)
    nothing = dict.fromkeys(KEYWORDS)
    for names in ("a", ["a", "b"]):
        for interval in ("minute", "hour"):
            got = series.get(names, interval, timestamp=None, **nothing)
            assert got == series.get(names, interval)
            got = series.series(
                names,
                interval,
                start=None,
                end=None,
                steps=None,
                collapse=None,
                condensed=None,
                **nothing,
            )
            assert got == series.series(names, interval)
            assert got == series.series(names, interval, steps=0)
            assert list(series.iterate(names, interval, **nothing)) == list(
                series.iterate(names, interval)
            )
    assert series.series("a", "minute", condense=False, collapse=False) == series.series(
        "a", "minute"
    )


def test_condensed_works_and_warns(store: Store) -> None:
    series = store.numbers("series")
    series.insert("a", 3, 90)
    series.insert("a", 5, 150)
    with pytest.warns(DeprecationWarning, match="condense") as caught:
        assert series.get("a", "hour", timestamp=0, condensed=True) == {0: [3, 5]}
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="condense") as caught:
        assert series.series("a", "hour", start=0, condensed=True) == {0: [3, 5]}
    assert caught[0].filename == __file__


@pytest.mark.parametrize("method", ["get", "series"])
def test_what_a_read_refuses(store: Store, method: str) -> None:
    series = store.numbers("series")
    series.insert("a", 3, 90)
    read = getattr(series, method)
    with pytest.raises(UnknownInterval, match="'day'.*'minute'") as unknown:
        read("a", "day")
    assert isinstance(unknown.value, KeyError)
    assert isinstance(unknown.value, KairosException)
    for bad in (None, 5, ["minute"]):
        with pytest.raises(UnknownInterval):
            read("a", bad)
    refused: list[tuple[type[Exception], dict[str, Any]]] = [
        (TypeError, {"colapse": True}),
        (TypeError, {"fetch": 5}),
        (TypeError, {"process_row": "mean"}),
        (TypeError, {"join_rows": 5}),
        (TypeError, {"transform": 5}),
        (TypeError, {"transform": [5]}),
        (KeyError, {"transform": "median"}),
        (ValueError, {"transform": ["mean", "median"]}),
        (ValueError, {"transform": {"x": "median"}}),
    ]
    for error, keywords in refused:
        with pytest.raises(error):
            read("a", "minute", **keywords)
    with pytest.raises(ValueError, match="median.*mean"):
        read("a", "minute", transform="median")
    for name, error in (
        (5, TypeError),
        (None, TypeError),
        ({"$ne": 1}, TypeError),
        ("", ValueError),
    ):
        with pytest.raises(error):
            read(name, "minute")
        with pytest.raises(error):
            read(["a", name], "minute")
    with pytest.raises(ValueError, match="empty"):
        read([], "minute")
    when = "timestamp" if method == "get" else "start"
    for moment in (float("nan"), float("inf"), datetime(2013, 3, 5)):
        with pytest.raises(ValueError):
            read("a", "minute", **{when: moment})
    with pytest.raises(TypeError):
        read("a", "minute", **{when: "yesterday"})
    if method == "series":
        with pytest.raises(ValueError):
            read("a", "minute", start=90, steps=-1)
        with pytest.raises(TypeError):
            read("a", "minute", start=90, steps=1.5)
