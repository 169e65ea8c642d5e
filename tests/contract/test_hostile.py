"""Names, values and intervals that were made to be taken for something else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos.exceptions import InvalidValue

from .store import MINUTE, Store

#: What separators, patterns, queries, escapes and collations are made of.
PIECES = [
    *":*?[]\\.$%_'\"`{}()-,;/ aA1eE\n\t\x01\u00e9\u0301\u0131\u00df\u2024\uffff\ufffe\U0001f600",
    ":minute",
    ":hour:0",
    "minute",
    ":1",
    ":0:1",
    "$ne",
    "--",
    "NULL",
    "\\u0000",
]
hostile = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
anything = st.text(min_size=1, max_size=8)


@settings(max_examples=20)
@given(st.lists(st.one_of(hostile, anything), min_size=2, max_size=8, unique=True))
def test_two_names_never_meet(store: Store, names: list[str]) -> None:
    series = store.make("count") if not store.made else store.made[0]
    kept: dict[str, int] = {}
    try:
        for number, name in enumerate(names, 1):
            try:
                series.insert(name, number, timestamp=90)
            except InvalidValue:
                continue
            kept[name] = number
        assert series.list() == sorted(kept)
        for name, number in kept.items():
            assert series.get(name, "minute", timestamp=90) == {60: number}
            assert series.get(name, "hour", timestamp=90) == {60: number}
        if kept:
            gone = min(kept)
            assert series.delete(gone) == (3 if store.kind == "redis" else 2)
            del kept[gone]
        for name, number in kept.items():
            assert series.properties(name)["hour"] == {"first": 0, "last": 0}
            assert series.get(name, "hour", timestamp=90, condense=True) == {0: number}
        assert series.list() == sorted(kept)
    finally:
        series.delete_all()
    assert store.look() == []


@pytest.mark.parametrize("kind", ["series", "histogram", "gauge", "set"])
def test_two_values_never_meet(store: Store, kind: str) -> None:
    series = store.texts(kind)
    serial = itertools.count()

    @settings(max_examples=20)
    @given(st.lists(st.one_of(hostile, anything, st.just("")), min_size=1, max_size=6, unique=True))
    def check(values: list[str]) -> None:
        name = f"n{next(serial)}"
        kept = []
        for value in values:
            try:
                series.insert(name, value, timestamp=90)
            except InvalidValue:
                continue
            kept.append(value)
        (row,) = series.get(name, "minute", timestamp=90).values()
        expected: Any = {
            "series": kept,
            "histogram": dict.fromkeys(kept, 1),
            "gauge": kept[-1] if kept else None,
            "set": set(kept),
        }[kind]
        assert row == expected
        assert series.get(name, "hour", timestamp=90, condense=True) == {0: expected}

    check()


def test_what_the_hostile_values_hold_is_not_refused(store: Store) -> None:
    """Only what a store cannot hold at all may be."""
    for kind in ("series", "histogram", "gauge", "set"):
        series = store.texts(kind)
        for value in PIECES:
            series.insert("a", value, timestamp=90)
        (row,) = series.get("a", "minute", timestamp=90).values()
        if kind == "gauge":
            assert row == PIECES[-1]
        else:
            assert set(row) == set(PIECES)


INTERVALS = [
    "minute",
    "minute:1",
    "a:minute",
    "1",
    "a b",
    "caf\u00e9",
    "Minute",
    "a.b",
    "%",
    "*",
    "a'b",
    "$minute",
    "system.x",
    "kairos.ids",
    "x" * 100,
]


def test_two_intervals_never_meet(store: Store) -> None:
    """Names of intervals are keys, collections or column values; some stores refuse some of them."""
    kept = []
    for number, interval in enumerate(INTERVALS):
        try:
            series = store.make(
                "count", {interval: {"step": 60, "resolution": 20}}, space=f"i{number}"
            )
            series.insert("a", 1, timestamp=90)
        except InvalidValue:
            continue
        kept.append(interval)
        assert series.get("a", interval, timestamp=90) == {80: 1}
    assert {"minute", "minute:1", "a b", "1", "Minute", "a.b"} <= set(kept)
    configurations = {interval: {"step": 60, "resolution": 20} for interval in kept}
    series = store.make("count", configurations)
    written: dict[str, int] = {}
    names = ["a", "a:minute", "a:a", "a:1", "a:minute:1", "a:minute:1:4"]
    for number, name in enumerate(names, 1):
        try:
            series.insert(name, number, timestamp=90)
        except InvalidValue:
            continue
        written[name] = number
    # On Redis one interval's name may end like another's: then two names would share a key.
    assert len(written) == len(names) or store.kind == "redis"
    assert series.list() == sorted(written)
    for name, number in written.items():
        for interval in kept:
            assert series.get(name, interval, timestamp=90) == {80: number}


@pytest.mark.parametrize("size", [255, 256, 5000, 1 << 20])
def test_long_names_are_kept_whole_or_refused(store: Store, size: int) -> None:
    series = store.make("count", MINUTE)
    one, two = "x" * size, "x" * size + "y"
    kept = {}
    for number, name in enumerate((one, two), 1):
        try:
            series.insert(name, number, timestamp=90)
        except InvalidValue:
            continue
        kept[name] = number
    for name, number in kept.items():
        assert series.get(name, "minute", timestamp=90) == {60: number}
    assert series.list() == sorted(kept)
    if kept:
        assert series.delete(one) == 1


def test_queries_and_statements_are_only_text(store: Store) -> None:
    series = store.texts("series")
    series.insert("a", "kept", timestamp=90)
    table = store.sql_table(series) if store.kind == "sql" else "minute"
    for text in (
        f"'; DROP TABLE {table}; --",
        '{"$gt": ""}',
        "$where",
        "a' OR '1'='1",
        "FLUSHALL\r\n",
    ):
        assert series.get(text, "minute", timestamp=90) == {60: []}
        series.insert(text, text, timestamp=90)
        assert series.get(text, "minute", timestamp=90) == {60: [text]}
        assert series.delete(text) > 0
    assert series.get("a", "minute", timestamp=90) == {60: ["kept"]}
    assert series.list() == ["a"]
