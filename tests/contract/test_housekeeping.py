"""``list``, ``properties``, ``delete``, ``delete_all`` and ``expire``: exactly the names that are meant."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import NOW, Clock
from .store import BOTH, HOUR, MINUTE, TYPES, Store
from .test_read import ONE

#: Names that a pattern, a separator, a collation or a query language could take for another one.
HOSTILE = [
    "a",
    "A",
    "a ",
    " a",
    "ab",
    "a*",
    "a?",
    "?",
    "*",
    "[a]",
    "[ab]*",
    "a\\",
    "\\*",
    "a:",
    ":a",
    "a:minute",
    "a:minute:1",
    "a:hour",
    "a:hour:0:1",
    "a:minute:1:minute",
    "minute",
    "a\nb",
    "a\n",
    "\t",
    "a.b",
    "a.",
    "$a",
    "$ne",
    "%",
    "a%",
    "_",
    "a_",
    "'",
    '"',
    "a'; --",
    "{a}",
    "{}",
    "e",
    "E",
    "\u00e9",
    "e\u0301",
    "\u00df",
    "ss",
    "\u0131",
    "i",
    "I",
    "\u4e2d\u6587",
    "\U0001f600",
    "\U0001f601",
    "\u200b",
    "\uffff",
    "1",
    "1.0",
    "01",
    "-1",
    "None",
    "x" * 200,
]


@pytest.fixture
def crowded(store: Store) -> Any:
    """Return a count that holds data of all hostile names; each holds a number of its own."""
    series = store.make("count")
    series.bulk_insert((90, name, number) for number, name in enumerate(HOSTILE, 1))
    return series


def test_each_name_holds_its_own(crowded: Any) -> None:
    for number, name in enumerate(HOSTILE, 1):
        assert crowded.get(name, "minute", timestamp=90) == {60: number}
        assert crowded.get(name, "hour", timestamp=90) == {60: number}
        assert crowded.properties(name) == {
            "minute": {"first": 60, "last": 60},
            "hour": {"first": 0, "last": 0},
        }
    got = crowded.get(HOSTILE, "minute", timestamp=90, join_rows=list)
    assert got == {60: list(range(1, len(HOSTILE) + 1))}


def test_list_names_them_all_exactly(crowded: Any) -> None:
    assert crowded.list() == sorted(HOSTILE)


def test_delete_takes_exactly_one(store: Store, crowded: Any) -> None:
    left = dict(zip(HOSTILE, range(1, len(HOSTILE) + 1), strict=True))
    lying = len(store.look())
    for name in HOSTILE[::3]:
        # Two intervals, of which one has resolutions.
        assert crowded.delete(name) == (3 if store.kind == "redis" else 2)
        del left[name]
        assert lying - len(store.look()) == (3 if store.kind == "redis" else 2)
        lying = len(store.look())
        assert crowded.delete(name) == 0
        assert crowded.properties(name) == {}
    assert crowded.list() == sorted(left)
    for name, number in left.items():
        assert crowded.get(name, "minute", timestamp=90) == {60: number}
        assert crowded.get(name, "hour", timestamp=90) == {60: number}


def test_delete_all_leaves_nothing(store: Store, crowded: Any) -> None:
    lying = len(store.look())
    assert crowded.delete_all() == lying
    assert store.look() == []
    assert crowded.list() == []
    assert crowded.delete_all() == 0
    crowded.insert("a", 5, timestamp=90)
    assert crowded.list() == ["a"]
    assert crowded.get("a", "minute", timestamp=90) == {60: 5}


@pytest.mark.parametrize("kind", TYPES)
def test_deletes_count_what_went(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    assert series.list() == []
    assert series.delete("a") == series.delete_all() == 0
    for timestamp in (0, 90, 7300, -5):
        series.insert("a", [3, 4], timestamp)
        series.insert("b", 3, timestamp)
    lying = len(store.look())
    gone = series.delete("a")
    assert gone == lying - len(store.look()) > 0
    assert series.list() == ["b"]
    assert series.get("b", "minute", timestamp=90) == {60: ONE[kind]}
    assert series.delete_all() == len(store.look()) + lying - gone - len(store.look())
    assert store.look() == []


@pytest.mark.parametrize("kind", TYPES)
def test_properties_tell_the_first_and_the_last_interval(store: Store, kind: str) -> None:
    configurations = {
        **BOTH,
        "week": {"step": "weekly"},
        "month": {"step": "monthly", "resolution": "daily"},
    }
    series = store.numbers(kind, configurations)
    assert series.properties("a") == {}
    # 2013-12-31 and 2014-01-01 lie in one week, which New Year cuts in two.
    for timestamp in (1388448000 + 90, 1388534400 + 7300, 1388448000 + 4000):
        series.insert("a", 3, timestamp)
        series.insert("ab", 3, timestamp - 10**8)
    assert series.properties("a") == {
        "minute": {"first": 1388448060, "last": 1388541660},
        "hour": {"first": 1388448000, "last": 1388541600},
        "week": {"first": 1388275200, "last": 1388534400},
        "month": {"first": 1385856000, "last": 1388534400},
    }
    series.insert("a", 3, -90)
    assert series.properties("a")["minute"] == {"first": -120, "last": 1388541660}
    assert series.properties("a")["week"]["first"] == -4 * 86400


def test_only_these_intervals_count(store: Store) -> None:
    both = store.make("count")
    both.insert("a", 1, timestamp=90)
    minutes = store.make("count", MINUTE)
    hours = store.make("count", HOUR)
    minutes.insert("b", 1, timestamp=90)
    hours.insert("c", 1, timestamp=90)
    assert both.list() == ["a", "b", "c"]
    assert minutes.list() == ["a", "b"]
    assert hours.list() == ["a", "c"]
    assert both.properties("b") == {"minute": {"first": 60, "last": 60}}
    assert hours.properties("b") == {}
    other = store.make("count", {"other": {"step": 5}})
    assert other.list() == []
    assert other.properties("a") == {}


def test_other_series_are_left_alone(store: Store) -> None:
    one = store.make("count", space="one")
    two = store.make("count", space="two")
    for series in (one, two):
        series.insert("a", 1, timestamp=90)
        series.insert("b", 1, timestamp=90)
    one.delete("a")
    assert one.list() == ["b"]
    assert two.list() == ["a", "b"]
    one.delete_all()
    assert one.list() == []
    assert two.list() == ["a", "b"]
    assert two.get("a", "hour", timestamp=90) == {60: 1}


@pytest.mark.backends("redis")
def test_keys_of_others_are_left_alone(store: Store) -> None:
    series = store.make("count")
    series.insert("a", 1, timestamp=90)
    others = [
        series._prefix + end
        for end in (
            "config",
            "a:minute",
            "a:minute:",
            "a:minute:x",
            "a:minutes:1",
            "a:minute:1:2:3",
            "",
        )
    ]
    for key in others:
        store.client.set(key, "mine")
    assert series.list() == ["a"]
    assert series.delete("a") == 3
    assert series.delete_all() == 0
    assert [store.client.get(key) in (b"mine", "mine") for key in others] == [True] * len(others)


@pytest.mark.backends("redis")
def test_a_prefix_may_hold_glob_characters(store: Store) -> None:
    one = store.make("count", prefix="x*[a]?\\")
    two = store.make("count", prefix="xyza?\\")
    one.insert("a", 1, timestamp=90)
    two.insert("b", 1, timestamp=90)
    assert one.list() == ["a"]
    assert one.properties("a").keys() == {"minute", "hour"}
    assert one.delete_all() == 3
    assert two.list() == ["b"]


def test_many_keys_are_taken_in_batches(store: Store) -> None:
    series = store.make("count", MINUTE)
    series.bulk_insert((60 * number, f"n{number % 7}", 1) for number in range(2500))
    assert series.list() == [f"n{number}" for number in range(7)]
    assert series.properties("n0")["minute"] == {"first": 0, "last": 60 * 2499}
    assert series.delete("n0") == 358
    assert series.delete_all() == 2500 - 358


def test_a_series_without_intervals_lists_and_deletes(store: Store, clock: Clock) -> None:
    for kind in TYPES:
        series = store.numbers(kind)
        series.insert("a", 3, timestamp=90)
        series.insert("b", 3, timestamp=NOW)
        bare = store.backend.make(kind, None)
        assert bare.list() == ["a", "b"]
        assert bare.properties("a") == {}
        assert bare.expire() == 0
        assert bare.delete("a") > 0
        assert series.list() == ["b"]
        assert bare.delete_all() > 0
        assert series.list() == []
        with pytest.raises(ValueError, match="intervals"):
            bare.insert("a", 3)
        with pytest.raises(ValueError, match="intervals"):
            bare.bulk_insert({90: {"a": [3]}})
        with pytest.raises(KeyError):
            bare.get("a", "minute")


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"], {"$ne": 1}, "", "a\0b", "\ud800"])
def test_what_is_no_name_is_refused(store: Store, name: Any) -> None:
    series = store.make("count")
    series.insert("a", 1, timestamp=90)
    before = store.look()
    for call in (series.delete, series.properties, series.expire):
        if name is None and call == series.expire:
            continue
        with pytest.raises((ValueError, TypeError)):
            call(name)
    assert store.look() == before
