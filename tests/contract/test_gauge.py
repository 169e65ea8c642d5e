"""Gauges: the last value that is set, where 0, the empty string and False are set."""

from __future__ import annotations

from typing import Any

import pytest

from .store import BOTH, Store


def falsy(store: Store) -> Any:
    """Return a gauge whose newest values are falsy ones."""
    gauge = store.numbers("gauge")
    gauge.insert("a", 5, timestamp=60)
    gauge.insert("a", 0, timestamp=120)
    gauge.insert("b", 0, timestamp=60)
    gauge.insert("c", 7, timestamp=3600)
    return gauge


def test_zero_is_set(store: Store) -> None:
    gauge = falsy(store)
    assert gauge.get("a", "minute", timestamp=120) == {120: 0}
    assert gauge.get("a", "hour", timestamp=0) == {60: 5, 120: 0}
    assert gauge.get("a", "hour", timestamp=0, condense=True) == {0: 0}
    assert gauge.get(["a", "b"], "minute", timestamp=60) == {60: 0}
    assert gauge.get(["b", "a"], "minute", timestamp=60) == {60: 5}
    assert gauge.get(["a", "b"], "hour", timestamp=0) == {60: 0, 120: 0}
    assert gauge.series("a", "minute", start=60, steps=5, collapse=True) == {60: 0}
    assert gauge.series("b", "hour", start=60, steps=2, collapse=True) == {0: 0}


def test_only_what_is_set_is_merged(store: Store) -> None:
    gauge = falsy(store)
    assert gauge.get(["a", "none"], "minute", timestamp=60) == {60: 5}
    assert gauge.get(["none", "neither"], "minute", timestamp=60) == {60: None}
    assert gauge.series("a", "minute", start=0, steps=5) == {
        0: None,
        60: 5,
        120: 0,
        180: None,
        240: None,
    }
    assert gauge.series("c", "hour", start=0, end=7200, condense=True) == {
        0: None,
        3600: 7,
        7200: None,
    }
    assert gauge.series("c", "hour", start=0, end=7200, collapse=True) == {0: 7}
    assert gauge.series("c", "hour", start=7200, end=7200, collapse=True) == {7200: None}
    assert gauge.series(["a", "c"], "hour", start=0, end=3600, collapse=True) == {0: 7}


def test_the_empty_string_is_set(store: Store) -> None:
    gauge = store.texts("gauge")
    gauge.insert("a", "x", timestamp=60)
    gauge.insert("a", "", timestamp=120)
    gauge.insert("b", "", timestamp=60)
    assert gauge.series("a", "minute", start=60, steps=3) == {60: "x", 120: "", 180: None}
    assert gauge.get("a", "hour", timestamp=60) == {60: "x", 120: ""}
    assert gauge.get("a", "hour", timestamp=60, condense=True) == {0: ""}
    assert gauge.series("a", "minute", start=60, steps=3, collapse=True) == {60: ""}
    assert gauge.get(["a", "b"], "minute", timestamp=60) == {60: ""}
    assert gauge.properties("b")["minute"] == {"first": 60, "last": 60}


@pytest.mark.backends("mongo", "sql")
def test_false_is_set(store: Store) -> None:
    gauge = store.make("gauge", value_type="bool")
    gauge.insert("a", True, timestamp=60)
    gauge.insert("b", False, timestamp=60)
    (value,) = gauge.get(["a", "b"], "minute", timestamp=60).values()
    assert value is False
    (value,) = gauge.get(["b", "a"], "minute", timestamp=60).values()
    assert value is True
    (value,) = gauge.series("b", "hour", start=60, steps=2, collapse=True).values()
    assert value is False


@pytest.mark.parametrize(
    ("read_func", "empty"),
    [
        (None, None),
        (lambda text: f"<{text}>", "<>"),
        (lambda text: float(text or 0), 0.0),
        (float, None),
        (lambda text: text.no_such_attribute, None),
    ],
    ids=["none", "text", "default", "refuses", "fails"],
)
def test_what_no_data_reads_as(store: Store, read_func: Any, empty: Any) -> None:
    gauge = store.make("gauge", BOTH, read_func=read_func)
    assert gauge.get("none", "minute", timestamp=60) == {60: empty}
    assert gauge.series("none", "minute", start=60, steps=2) == {60: empty, 120: empty}
    assert gauge.get("none", "hour", timestamp=60) == {}
    seen: list[Any] = []
    gauge.get(["none"], "minute", timestamp=60, join_rows=seen.append)
    assert seen == [[empty]]
    # Where something is merged, what was never set is left out.
    assert gauge.get(["none", "neither"], "minute", timestamp=60) == {60: None}
    assert gauge.series("none", "minute", start=60, steps=2, collapse=True) == {60: None}


def test_no_data_does_not_hide_what_is_set(store: Store) -> None:
    gauge = store.make("gauge", read_func=lambda value: float(value) if value != "" else "nothing")
    gauge.insert("a", 5, timestamp=60)
    assert gauge.get(["a", "none"], "minute", timestamp=60) == {60: 5}
    assert gauge.series("a", "minute", start=60, steps=3, collapse=True) == {60: 5}
    assert gauge.series("a", "minute", start=60, steps=2) == {60: 5, 120: "nothing"}
    assert gauge.series("a", "hour", start=60, steps=2, collapse=True) == {0: 5}


def test_a_list_leaves_its_last_element(store: Store) -> None:
    gauge = store.numbers("gauge")
    gauge.insert("a", [3, 9, 4], timestamp=60)
    assert gauge.get("a", "minute", timestamp=60) == {60: 4}
    gauge.insert("a", [], timestamp=60)
    assert gauge.get("a", "minute", timestamp=60) == {60: 4}
