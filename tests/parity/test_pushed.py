"""Named transforms that the store computes give what kairos computes itself: equal in value and in type."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.store import TYPES, Store, as_number

NAMES = ("mean", "count", "min", "max", "sum", "rate")
WANTED: list[Any] = ["count", "mean", ["sum", "count"], {"low": "min", "high": "max"}, set(NAMES)]
INTERVALS = {
    "minute": {"step": 60},
    "hour": {"step": 3600, "resolution": 60},
    "day": {"step": "daily", "resolution": "1h"},
    "month": {"step": "monthly"},
}
#: Sums of these are exact in any order.
VALUES = [0, 1, 2, 3, 7, 0.5, 2.25, -4, -0.125, 1024.5]
#: What a caller may do to values on the way out: a store cannot know.
READ_FUNCS: dict[str, Any] = {
    "none": None,
    "float": float,
    "number": as_number,
}


def typed(value: Any) -> Any:
    """Return a result together with the types in it."""
    if isinstance(value, Mapping):
        return {key: (type(key), typed(row)) for key, row in value.items()}
    return type(value), repr(value)


class Both:
    """Read a series both ways: with partials asked of the store, and without."""

    def __init__(self, series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.series = series
        self.pushed = 0
        asked: Callable[..., Any] = series._pushed

        def noted(*args: Any) -> Any:
            plan = asked(*args)
            self.pushed += plan is not None
            return plan

        monkeypatch.setattr(series, "_pushed", noted)
        self._context = monkeypatch

    def compare(self, method: str, *args: Any, **keywords: Any) -> None:
        """Check that both ways give the same, or the same error."""
        read = getattr(self.series, method)
        got = outcome(lambda: read(*args, **keywords))
        with self._context.context() as context:
            context.setattr(self.series, "_partials", lambda *_: frozenset())
            expected = outcome(lambda: read(*args, **keywords))
        assert got == expected, (method, args, keywords)


def outcome(read: Callable[[], Any]) -> Any:
    """Return what a read gives, with its types, or the type of its error."""
    try:
        return typed(read())
    except (TypeError, ValueError) as error:
        return type(error)


def filled(store: Store, kind: str, seed: int, values: list[Any], **options: Any) -> Any:
    series = store.make(kind, INTERVALS, **options)
    draw = random.Random(seed)
    entries = []
    for name in ("a", "b"):
        for _ in range(40):
            timestamp = draw.choice([0, 60, 119, 600, 3600, 3700, 86400, 86400 * 31 + 5])
            entries.append((timestamp, name, draw.choice(values)))
    series.bulk_insert(entries)
    return series


SPANS: list[tuple[str, dict[str, Any]]] = [
    ("minute", {"start": 0, "end": 720}),
    ("hour", {"start": 0, "end": 7300}),
    ("day", {"start": 0, "steps": 4}),
    ("month", {"start": 0, "steps": 3}),
]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("read_func", list(READ_FUNCS))
def test_series(store: Store, kind: str, read_func: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(filled(store, kind, 3, VALUES, read_func=READ_FUNCS[read_func]), monkeypatch)
    stages: list[dict[str, bool]] = [{}, {"condense": True}, {"collapse": True}]
    if read_func == "none":
        nothing: list[Any] = [("hour", {"start": 14400, "steps": 2})]
        cases = [*itertools.product(["a", ["b", "none", "a"]], SPANS, WANTED, stages)]
        cases += itertools.product(["a", ["none"]], nothing, WANTED, stages)
    else:
        cases = [*itertools.product(["a", ["a", "b"]], SPANS[:2], WANTED[::2], stages)]
    for name, (interval, span), wanted, stage in cases:
        if stage == {"condense": True} and interval in ("minute", "month"):
            continue
        both.compare("series", name, interval, transform=wanted, **span, **stage)
    if kind == "series":
        assert both.pushed >= 10


@pytest.mark.parametrize("kind", TYPES)
def test_get_and_iterate(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(filled(store, kind, 5, VALUES), monkeypatch)
    for name, interval, wanted in itertools.product(("a", ["a", "b"]), INTERVALS, NAMES):
        condense = interval in ("hour", "day") and name == "a"
        both.compare("get", name, interval, timestamp=60, transform=wanted, condense=condense)
    for interval in INTERVALS:
        for stage in ({}, {"condense": True}):
            both.compare("get", "a", interval, timestamp=86400 * 5, transform=set(NAMES), **stage)
            both.compare("get", "a", interval, timestamp=60, transform=set(NAMES), **stage)
    series = both.series
    whole = series.series("a", "month", start=0, end=86400 * 31 + 5, transform="count")
    assert typed(list(series.iterate("a", "month", transform="count"))) == typed(
        list(whole.items())
    )


@pytest.mark.parametrize("kind", ["series", "histogram", "set", "gauge"])
def test_text(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"value_type": "string"} if store.kind == "sql" else {}
    series = filled(store, kind, 7, ["b", "a", "B", "10", "9", "\u00e4", "a ", ""], **options)
    both = Both(series, monkeypatch)
    stages: list[dict[str, bool]] = [{}, {"condense": True}, {"collapse": True}]
    for wanted, (interval, span), stage in itertools.product(WANTED, SPANS[:2], stages):
        for name in ("a", ["a", "b"]):
            both.compare("series", name, interval, transform=wanted, **span, **stage)


@pytest.mark.backends("sql", "mongo")
@pytest.mark.parametrize("value_type", ["int", "decimal", "bool", "date"])
def test_other_types_of_values(
    store: Store, value_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime
    import decimal

    values: dict[str, list[Any]] = {
        "int": [1, 2, 5, -3, 2**31 + 1],
        "decimal": [decimal.Decimal(3), decimal.Decimal(8)],
        "bool": [True, False],
        "date": [datetime.date(2013, 3, day) for day in (5, 6, 9)],
    }
    if store.kind == "mongo" and value_type in ("decimal", "date"):
        pytest.skip("BSON has no such type")
    for kind in ("series", "set", "histogram"):
        if store.kind == "mongo" and kind == "histogram":
            continue
        options = {"value_type": value_type} if store.kind == "sql" else {}
        both = Both(filled(store, kind, 9, values[value_type], space=kind, **options), monkeypatch)
        for wanted, (interval, span) in itertools.product(WANTED, SPANS[:2]):
            for stage in ({}, {"condense": True}, {"collapse": True}):
                both.compare("series", ["a", "b"], interval, transform=wanted, **span, **stage)


@pytest.mark.parametrize("kind", ["series", "count", "set", "histogram"])
def test_any_values(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(store.make(kind, INTERVALS), monkeypatch)
    serial = itertools.count()
    values = st.integers(-(2**20), 2**20).map(lambda eighths: eighths / 8)

    @settings(max_examples=15)
    @given(st.lists(st.tuples(st.sampled_from([0, 60, 3600]), values), min_size=1, max_size=6))
    def check(log: list[tuple[int, float]]) -> None:
        name = f"n{next(serial)}"
        both.series.bulk_insert((timestamp, name, value) for timestamp, value in log)
        for stage in ({}, {"condense": True}, {"collapse": True}):
            span = {"start": 0, "end": 3600}
            both.compare("series", name, "hour", transform=list(NAMES), **span, **stage)

    check()
