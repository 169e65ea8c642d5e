"""Transforms: by name, callables with and without a duration, lists, sets and mappings of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from .store import TYPES, Store

NAMES = ("mean", "count", "min", "max", "sum", "rate")
VALUES = [1, 4, 4, 0.5]
#: What the named transforms make of VALUES in a bucket of a minute.
EXPECTED: dict[str, dict[str, Any]] = {
    "series": {"mean": 2.375, "count": 4, "min": 0.5, "max": 4, "sum": 9.5, "rate": 4 / 60},
    "histogram": {
        "mean": 2.375,
        "count": 4,
        "min": 0.5,
        "max": 4,
        "sum": 9.5,
        "rate": {1: 1 / 60, 4: 2 / 60, 0.5: 1 / 60},
    },
    "count": {**dict.fromkeys(NAMES, 9.5), "rate": 9.5 / 60},
    "gauge": dict.fromkeys(NAMES, 0.5),
    "set": {"mean": 5.5 / 3, "count": 3, "min": 0.5, "max": 4, "sum": 5.5, "rate": 3 / 60},
}
#: ... and of a bucket without data.
ON_EMPTY: dict[str, dict[str, Any]] = {
    "series": dict.fromkeys(NAMES, 0),
    "histogram": {**dict.fromkeys(NAMES, 0), "rate": {}},
    "count": dict.fromkeys(NAMES, 0),
    "gauge": dict.fromkeys(NAMES, None),
    "set": dict.fromkeys(NAMES, 0),
}


@pytest.mark.parametrize("kind", TYPES)
def test_named_transforms(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", VALUES, timestamp=90)
    for name in NAMES:
        expected = pytest.approx(EXPECTED[kind][name])
        assert series.get("a", "minute", timestamp=90, transform=name)[60] == expected
        got = series.series("a", "hour", start=90, transform=name)
        assert got[0][60] == expected
        assert series.get("a", "minute", timestamp=150, transform=name) == {
            120: ON_EMPTY[kind][name]
        }
        assert series.get("a", "hour", timestamp=7300, transform=name) == {}
        got = series.series("a", "hour", start=7300, transform=name, condense=True)
        assert got == {7200: ON_EMPTY[kind][name]}
        got = series.series("none", "minute", start=7300, steps=2, transform=name, collapse=True)
        assert got == {7260: ON_EMPTY[kind][name]}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wrap", [list, tuple, set, frozenset])
def test_several_at_once(store: Store, kind: str, wrap: Any) -> None:
    series = store.numbers(kind)
    series.insert("a", VALUES, timestamp=90)
    (row,) = series.get("a", "minute", timestamp=90, transform=wrap(NAMES)).values()
    assert row.keys() == EXPECTED[kind].keys()
    for name in NAMES:
        assert row[name] == pytest.approx(EXPECTED[kind][name])
    got = series.get("a", "minute", timestamp=90, transform=wrap([type, "count", id_of]))
    (row,) = got.values()
    assert set(row) == {type, "count", id_of}
    assert row["count"] == EXPECTED[kind]["count"]
    assert row[type] is type(row[id_of])


def id_of(row: Any) -> Any:
    """Return the row itself."""
    return row


@pytest.mark.parametrize("kind", TYPES)
def test_a_mapping_names_the_results(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", VALUES, timestamp=90)
    wanted = {"total": "sum", 5: "max", ("any", "key"): type}
    (row,) = series.get("a", "minute", timestamp=90, transform=wanted).values()
    assert row["total"] == EXPECTED[kind]["sum"]
    assert row[5] == EXPECTED[kind]["max"]
    assert isinstance(row["any", "key"], type)
    assert wanted == {"total": "sum", 5: "max", ("any", "key"): type}
    got = series.get("a", "hour", timestamp=90, transform={"x": "count"}, condense=True)
    assert got == {0: {"x": EXPECTED[kind]["count"]}}


def with_duration(row: Any, seconds: float) -> Any:
    """Take the duration as the second of two required parameters."""
    return row, seconds


def named_duration(row: Any, *, duration: float) -> Any:
    """Take the duration by its name."""
    return row, duration


def optional_duration(row: Any, duration: Any = None) -> Any:
    """Take the duration by its name, though it has a default."""
    return row, duration


class Callable:
    """Be a callable with state."""

    def __call__(self, row: Any, seconds: float) -> Any:
        return row, seconds

    def method(self, row: Any, seconds: float) -> Any:
        """Be a bound method."""
        return row, seconds


def extra(unit: str, row: Any, seconds: float) -> Any:
    """Be called with its first argument bound."""
    return row, seconds


DURATION = [
    with_duration,
    named_duration,
    optional_duration,
    Callable(),
    Callable().method,
    partial(extra, "s"),
    lambda row, seconds: (row, seconds),
]


@pytest.mark.parametrize("function", DURATION)
def test_a_callable_may_take_the_duration(store: Store, function: Any) -> None:
    series = store.numbers(
        "series",
        {
            "minute": {"step": 60},
            "hour": {"step": 3600, "resolution": 60},
            "month": {"step": "monthly"},
        },
    )
    for timestamp in (0, 90, 31 * 86400):
        series.insert("a", 5, timestamp=timestamp)
    assert series.get("a", "minute", timestamp=90, transform=function) == {60: ([5], 60)}
    assert series.get("a", "hour", timestamp=90, transform=function) == {
        0: ([5], 60),
        60: ([5], 60),
    }
    got = series.get("a", "hour", timestamp=90, transform=function, condense=True)
    assert got == {0: ([5, 5], 3600)}
    got = series.series("a", "hour", start=90, steps=3, transform=function, collapse=True)
    assert got == {0: ([5, 5], 3 * 3600)}
    # Months have their true length: January and February of 1970.
    got = series.series("a", "month", start=0, steps=2, transform=function)
    assert got == {0: ([5, 5], 31 * 86400), 31 * 86400: ([5], 28 * 86400)}
    got = series.series("a", "month", start=0, steps=2, transform=function, collapse=True)
    assert got == {0: ([5, 5, 5], 59 * 86400)}
    got = series.series("a", "month", start=0, transform="rate")
    assert got == {0: 2 / (31 * 86400)}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (len, 2),
        (sum, 8),
        (max, 5),
        (sorted, [3, 5]),
        (lambda row: row[0], 5),
        (lambda row, factor=2: row[0] * factor, 10),
        (lambda *rows: len(rows), 1),
        (list, [5, 3]),
        (str, "[5, 3]"),
    ],
)
def test_other_callables_take_the_row_alone(store: Store, function: Any, expected: Any) -> None:
    series = store.numbers("series")
    series.insert("a", [5, 3], timestamp=90)
    assert series.get("a", "minute", timestamp=90, transform=function) == {60: expected}
    got = series.get("a", "minute", timestamp=90, transform={"it": function})
    assert got == {60: {"it": expected}}


@pytest.mark.parametrize("kind", TYPES)
def test_callables_are_treated_alike_for_all_types(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", VALUES, timestamp=90)
    plain = series.get("a", "minute", timestamp=90)[60]
    got = series.get("a", "minute", timestamp=90, transform=[id_of, with_duration])
    assert got == {60: {id_of: plain, with_duration: (plain, 60)}}
    assert series.get("a", "minute", timestamp=90, transform=lambda row: None) == {60: None}


@pytest.mark.parametrize("kind", ["count", "gauge"])
def test_a_name_of_another_type_leaves_the_row_alone(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", 5, timestamp=90)
    names = ["mean", "count", "min", "max", "sum"]
    assert series.get("a", "minute", timestamp=90, transform=names) == {60: dict.fromkeys(names, 5)}
    assert series.get("a", "hour", timestamp=90, transform="mean") == {60: 5}
    assert series.series("a", "hour", start=90, transform="mean", collapse=True) == {0: 5}


def test_transforms_by_name_of_joined_names(store: Store) -> None:
    series = store.numbers("series")
    series.insert("a", [1, 2], timestamp=90)
    series.insert("b", [6], timestamp=90)
    series.insert("b", [7], timestamp=150)
    wanted = ["sum", "count", "min", "max"]
    assert series.get(["a", "b"], "minute", timestamp=90, transform=wanted) == {
        60: {"sum": 9, "count": 3, "min": 1, "max": 6}
    }
    got = series.series(["a", "b"], "hour", start=90, transform=wanted)
    assert got == {
        0: {
            60: {"sum": 9, "count": 3, "min": 1, "max": 6},
            120: {"sum": 7, "count": 1, "min": 7, "max": 7},
        }
    }
    got = series.series(["a", "b"], "hour", start=90, transform=wanted, condense=True)
    assert got == {0: {"sum": 16, "count": 4, "min": 1, "max": 7}}


def test_a_set_counts_a_value_once_however_it_is_merged(store: Store) -> None:
    series = store.numbers("set")
    series.insert("a", [1, 2], timestamp=90)
    series.insert("a", [2, 3], timestamp=150)
    series.insert("b", [3, 1], timestamp=90)
    assert series.get("a", "hour", timestamp=90, transform="count") == {60: 2, 120: 2}
    assert series.get("a", "hour", timestamp=90, transform="count", condense=True) == {0: 3}
    assert series.get(["a", "b"], "minute", timestamp=90, transform="count") == {60: 3}
    got = series.series("a", "minute", start=90, steps=2, transform="count", collapse=True)
    assert got == {60: 3}
    got = series.series("a", "minute", start=90, steps=2, transform=["sum", "rate"], collapse=True)
    assert got == {60: {"sum": 6, "rate": 3 / 120}}


def test_text_can_be_counted_and_compared(store: Store) -> None:
    for kind in ("series", "histogram", "set"):
        series = store.texts(kind)
        series.insert("a", ["b", "a", "b"], timestamp=90)
        got = series.get("a", "minute", timestamp=90, transform=["count", "min", "max"])
        assert got == {60: {"count": 2 if kind == "set" else 3, "min": "a", "max": "b"}}
        with pytest.raises(TypeError):
            series.get("a", "minute", timestamp=90, transform="sum")
