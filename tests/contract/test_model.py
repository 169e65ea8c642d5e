"""All reads of all types, compared with a model that keeps a plain log."""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import oracle
from .conftest import Clock
from .store import TYPES, Store, as_number

#: The heaviest tests of the suite run on one client for each kind of server.
pytestmark = pytest.mark.backends(
    *("=redis", "redis-cluster", "=mongo", "mongo-replicaset", "sqlite", "postgresql", "mariadb")
)

DAY = 86400
#: Sunday, 2012-12-30 12:00:00 UTC; the New Year that follows cuts a week in two.
SUNDAY = 1356868800
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "minute": {"step": 60, "steps": 3},
    "hour": {"step": "1h", "resolution": 60},
    "daily": {"step": "daily", "resolution": "1h"},
    "week": {"step": "weekly", "resolution": "daily"},
    "weekly": {"step": "weekly"},
    "month": {"step": "monthly", "resolution": "weekly"},
    "year": {"step": "yearly", "resolution": "monthly"},
    "odd": {"step": 7, "resolution": 3},
}
#: A tenth in which everything of minutes and hours is close, around moments where calendars are delicate.
MOMENTS = [
    *(SUNDAY + offset for offset in (0, 1, 59, 60, 3599, 3600, 7000)),
    *(SUNDAY + days * DAY for days in (1, 2, 3, 6, 31, 33, 62)),
    SUNDAY + 0.75,
    -1,
    0,
    -DAY * 40 - 1,
]
NAMES = ("a", "b.c")

#: None is 0, and no sum of a few is: Redis keeps no count of 0 that is coarse, and so no ends of it.
numbers = st.sampled_from([1, 2, 3, 0.5, 2.25, -4.0625, 10.125])
inserts = st.lists(
    st.tuples(
        st.sampled_from(NAMES), numbers, st.sampled_from(MOMENTS), st.sampled_from([0, 0, 1, -2])
    ),
    min_size=1,
    max_size=12,
)


def fill(
    kind: str, store: Store, configurations: dict[str, Any], seed: int
) -> tuple[Any, oracle.Model]:
    """Insert the same into a series and into a model, one by one and in bulk."""
    series = store.numbers(kind, configurations)
    model = oracle.Model(kind, configurations, as_number)
    draw = random.Random(seed)
    values = [0, 1, 2, 3, 0.5, 2.25, -4, 10.125]
    bulk: OrderedDict[Any, Any] = OrderedDict()
    for timestamp in [*MOMENTS, *MOMENTS]:
        name, value = draw.choice(NAMES), draw.choice(values)
        series.insert(name, value, timestamp)
        model.insert(name, value, timestamp)
    for timestamp in draw.sample(MOMENTS, 8):
        rows = {name: draw.choices(values, k=3) for name in NAMES}
        bulk[timestamp] = rows
        for name, row in rows.items():
            model.insert(name, row, timestamp)
    series.bulk_insert(bulk)
    return series, model


def compare(series: Any, model: oracle.Model, names: Any, interval: str, **keywords: Any) -> None:
    """Compare every way to read around every moment."""
    for timestamp in MOMENTS[::4]:
        got = series.get(names, interval, timestamp=timestamp, **keywords)
        assert got == model.get(names, interval, timestamp, **keywords)
        assert list(got) == sorted(got)


@pytest.mark.parametrize("kind", TYPES)
def test_reads_are_those_of_the_model(store: Store, kind: str, clock: Clock) -> None:
    series, model = fill(kind, store, CONFIGURATIONS, seed=7)
    ranges: list[dict[str, Any]] = [
        {"start": SUNDAY, "end": SUNDAY + 2 * 3600},
        {"start": SUNDAY - 61, "steps": 4},
        {"end": SUNDAY + 3 * DAY, "steps": 5},
        {"start": -7200, "end": 1},
    ]
    wide: list[dict[str, Any]] = [
        {"start": SUNDAY - 40 * DAY, "end": SUNDAY + 70 * DAY},
        {"start": -400 * DAY, "end": 40 * DAY},
    ]
    for interval, names in itertools.product(CONFIGURATIONS, ("a", list(NAMES), ["none", "a"])):
        for condense in (False, True) if names == "a" else (True,):
            compare(series, model, names, interval, condense=condense)
        step = oracle.parse(CONFIGURATIONS[interval]["step"])
        spans = ranges if isinstance(step, int) else ranges + wide
        for span in spans:
            for stages in ({}, {"condense": True}, {"collapse": True}):
                got = series.series(names, interval, **span, **stages)
                expected = model.series(names, interval, **span, **stages)
                assert got == expected, (interval, names, span, stages)
                assert list(got) == list(expected)


@pytest.mark.parametrize("kind", TYPES)
def test_named_transforms_are_those_of_the_model(store: Store, kind: str, clock: Clock) -> None:
    configurations = {key: CONFIGURATIONS[key] for key in ("minute", "hour", "week")}
    series, model = fill(kind, store, configurations, seed=11)
    spans = {
        "minute": {"start": SUNDAY - 120, "end": SUNDAY + 600},
        "hour": {"start": SUNDAY - 120, "end": SUNDAY + 7000},
        "week": {"start": SUNDAY - DAY, "end": SUNDAY + 8 * DAY},
    }
    for name in ("mean", "count", "min", "max", "sum", "rate"):
        for interval, names in itertools.product(configurations, ("a", list(NAMES))):
            stages: dict[str, bool]
            for stages in ({}, {"condense": True}, {"collapse": True}):
                keywords: dict[str, Any] = {**spans[interval], **stages}
                got = series.series(names, interval, transform=name, **keywords)
                assert got == model.series(names, interval, named=name, **keywords)
            for condense in (False, True):
                got = series.get(
                    names, interval, timestamp=SUNDAY, transform=name, condense=condense
                )
                assert got == model.get(names, interval, SUNDAY, named=name, condense=condense)


@pytest.mark.parametrize("kind", TYPES)
def test_any_inserts_read_as_those_of_the_model(store: Store, kind: str, clock: Clock) -> None:
    configurations = {key: CONFIGURATIONS[key] for key in ("minute", "hour", "month")}
    series = store.numbers(kind, configurations)
    serial = itertools.count()

    @settings(max_examples=12)
    @given(inserts)
    def check(log: list[tuple[str, Any, float, int]]) -> None:
        number = next(serial)
        model = oracle.Model(kind, configurations, as_number)
        for name, value, timestamp, intervals in log:
            series.insert(f"{number}/{name}", value, timestamp, intervals=intervals)
            model.insert(f"{number}/{name}", value, timestamp, intervals)
        names = [f"{number}/{name}" for name in NAMES]
        for interval in configurations:
            timestamp = log[0][2]
            for wanted in (names[0], names):
                got = series.series(wanted, interval, start=timestamp, steps=4)
                assert got == model.series(wanted, interval, start=timestamp, steps=4)
        for name in names:
            assert series.properties(name) == model.properties(name)

    check()


@pytest.mark.parametrize("kind", TYPES)
def test_iterate_yields_what_a_series_over_all_data_returns(
    store: Store, kind: str, clock: Clock
) -> None:
    configurations = {key: CONFIGURATIONS[key] for key in ("week", "weekly", "year")}
    series, model = fill(kind, store, configurations, seed=13)
    for interval, names in (("week", "a"), ("weekly", list(NAMES)), ("year", list(NAMES))):
        ends = [model.properties(name)[interval] for name in oracle._list(names)]
        first, last = min(each["first"] for each in ends), max(each["last"] for each in ends)
        whole = model.series(names, interval, start=first, end=last)
        expected: list[Any] = list(whole.items())
        if interval != "weekly":
            expected = [item for row in whole.values() for item in row.items()]
        assert list(series.iterate(names, interval)) == expected
        if interval == "year":
            condensed = model.series(names, interval, start=first, end=last, condense=True)
            got = list(series.iterate(names, interval, condense=True))
            assert got == list(condensed.items())
    assert list(series.iterate("none", "week")) == []
