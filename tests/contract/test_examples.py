"""The examples of the original's documentation, on every backend; only ``print`` and ``int`` changed."""

from __future__ import annotations

from typing import Any

from kairos import Timeseries

from .conftest import NOW, Clock
from .store import Store

MINUTE = NOW // 60 * 60


def test_a_histogram_of_floats(store: Store, clock: Clock, capsys: Any) -> None:
    t: Any = store.make(
        type_ := "histogram",
        {
            "minute": {
                "step": 60,  # 60 seconds
                "steps": 120,  # last 2 hours
            }
        },
        read_func=float,
    )
    t.insert("example", 3.14159)
    t.insert("example", 2.71828)
    assert t.get("example", "minute") == {MINUTE: {3.14159: 1, 2.71828: 1}}
    assert type_ in type(t).__name__.lower()


def test_the_types_hold_what_they_are_said_to_hold(store: Store, clock: Clock) -> None:
    intervals = {
        "minute": {"step": 60, "steps": 240},
        "hour": {"step": "1h", "steps": 24, "resolution": 60},
        "month": {"step": "30d", "resolution": 86400},
        "day": {"step": "daily", "resolution": "1h"},
        "year": {"step": "yearly", "resolution": "monthly"},
    }
    for kind, row in (
        ("series", [3, 4, 3]),
        ("histogram", {3: 2, 4: 1}),
        ("count", 10),
        ("gauge", 3),
    ):
        t = store.numbers(kind, intervals)
        for value in (3, 4, 3):
            t.insert("example", value)
        assert t.get("example", "minute") == {MINUTE: row}
        assert t.get("example", "hour") == {MINUTE: row}
        for interval in intervals:
            assert list(t.get("example", interval, condense=True).values()) == [row]
        assert len(t.series("example", "minute")) == 240
        assert len(t.series("example", "hour", steps=3)) == 3
        assert t.series("example", "hour", steps=3, collapse=True) == {
            NOW // 3600 * 3600 - 7200: row
        }
        t.delete("example")
        assert t.list() == []


def test_several_names_and_transforms(store: Store, clock: Clock) -> None:
    t = store.numbers("series", {"minute": {"step": 60}})
    for name, value in (("one", 3), ("two", 5), ("one", 1)):
        t.insert(name, value)
    assert t.get(["one", "two"], "minute") == {MINUTE: [3, 1, 5]}
    assert t.get(["one", "two"], "minute", transform="mean") == {MINUTE: 3}
    wanted = {"average": "mean", "span": lambda row: max(row) - min(row)}
    assert t.get(["one", "two"], "minute", transform=wanted) == {MINUTE: {"average": 3, "span": 4}}
    assert t.get("one", "minute", transform=("min", "max")) == {MINUTE: {"min": 1, "max": 3}}


def test_cutting_down_and_counting_with_write_func(store: Store, clock: Clock) -> None:
    t = store.numbers("histogram", {"minute": {"step": 60}}, write_func=lambda v: round(v, 1))
    for value in (3.14159, 3.11, 2.71828):
        t.insert("example", value)
    assert t.get("example", "minute") == {MINUTE: {3.1: 2, 2.7: 1}}


def test_a_caller_computes_a_variance_over_a_range(store: Store, clock: Clock) -> None:
    t = store.numbers("series", {"hour": {"step": 3600, "resolution": 60}})
    for offset, value in ((0, 2), (60, 4), (3600, 6)):
        t.insert("example", value, timestamp=NOW - NOW % 3600 + offset)

    def variance(rows: Any) -> float:
        values = [value for row in rows.values() for value in row]
        mean = sum(values) / len(values)
        return sum((value - mean) ** 2 for value in values) / len(values)

    start = NOW - NOW % 3600
    assert t.series("example", "hour", start=start, steps=1, condense=variance) == {start: 1}
    got = t.series("example", "hour", start=start, steps=2, collapse=variance)
    assert got == {start: 8 / 3}


def test_a_url_and_the_defaults(tmp_path: Any, clock: Clock) -> None:
    t = Timeseries(f"sqlite:///{tmp_path / 'example.db'}", intervals={"minute": {"step": 60}})
    t.insert("example", 3.14159)
    assert t.get("example", "minute") == {MINUTE: [3.14159]}
    t._client.dispose()
