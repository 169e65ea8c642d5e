"""Bad input: an error that names what is wrong, of the fitting kinds, and nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from kairos import Timeseries
from kairos.exceptions import InvalidType, InvalidValue, KairosException

from .store import BOTH, MINUTE, TYPES, Store

#: What is refused is refused before a client is asked, so one of each store's will do.
pytestmark = pytest.mark.backends("=redis", "=mongo", "sqlite", "postgresql", "mariadb")

NAIVE = datetime(2013, 3, 5)  # without a zone: that is the point


def assert_refused(
    store: Store, call: Callable[[], Any], kind: type[Exception], names: str = ""
) -> None:
    """Check that a call raises an error of both kinds that tells what is wrong, and writes nothing."""
    before = store.look()
    with pytest.raises(kind, match=re.escape(names) or ".") as caught:
        call()
    assert isinstance(caught.value, KairosException)
    assert store.look() == before


@pytest.mark.parametrize(
    ("intervals", "kind", "names"),
    [
        ({"minute": {}}, KeyError, "minute"),
        ({"minute": {}}, ValueError, "step"),
        ({"minute": {"steps": 5}}, ValueError, "minute"),
        ({"minute": {"step": None}}, ValueError, "minute"),
        ({"minute": {"step": 0}}, ValueError, "minute"),
        ({"minute": {"step": -60}}, ValueError, "-60"),
        ({"minute": {"step": "0h"}}, ValueError, "0h"),
        ({"minute": {"step": "-5d"}}, ValueError, "-5d"),
        ({"minute": {"step": 1.5}}, ValueError, "1.5"),
        ({"minute": {"step": float("nan")}}, ValueError, "nan"),
        ({"minute": {"step": float("inf")}}, ValueError, "inf"),
        ({"minute": {"step": True}}, ValueError, "True"),
        ({"minute": {"step": timedelta(milliseconds=1500)}}, ValueError, "minute"),
        ({"minute": {"step": "fortnightly"}}, ValueError, "fortnightly"),
        ({"minute": {"step": "5x"}}, ValueError, "5x"),
        ({"minute": {"step": ""}}, ValueError, "minute"),
        ({"minute": {"step": [60]}}, ValueError, "minute"),
        ({"minute": {"step": 60, "resolution": 61}}, ValueError, "61"),
        ({"minute": {"step": "daily", "resolution": "2d"}}, ValueError, "2d"),
        ({"minute": {"step": "weekly", "resolution": "monthly"}}, ValueError, "monthly"),
        ({"minute": {"step": 60, "resolution": 0}}, ValueError, "resolution"),
        ({"minute": {"step": 60, "resolution": "x"}}, ValueError, "x"),
        ({"minute": {"step": 60, "steps": -1}}, ValueError, "-1"),
        ({"minute": {"step": 60, "steps": 1.5}}, ValueError, "1.5"),
        ({"minute": {"step": 60, "steps": "many"}}, ValueError, "many"),
        ({"minute": {"step": 60, "steps": True}}, ValueError, "True"),
        ({"minute": 60}, TypeError, "minute"),
        ({"minute": None}, TypeError, "minute"),
        ({5: {"step": 60}}, TypeError, "5"),
        ({"": {"step": 60}}, ValueError, "interval"),
        ({"a\0": {"step": 60}}, ValueError, "NUL"),
        ({"\ud800": {"step": 60}}, ValueError, "interval"),
        ([("minute", {"step": 60})], TypeError, "intervals"),
        ("minute", TypeError, "intervals"),
    ],
)
def test_intervals(store: Store, intervals: Any, kind: type[Exception], names: str) -> None:
    assert_refused(store, lambda: store.backend.make("count", intervals), kind, names)


@pytest.mark.parametrize(
    ("options", "kind", "names"),
    [
        ({"read_func": 5}, TypeError, "read_func"),
        ({"write_func": "int"}, TypeError, "write_func"),
        ({"remember": 0}, ValueError, "remember"),
        ({"remember": "long"}, ValueError, "long"),
    ],
)
def test_options(store: Store, options: Any, kind: type[Exception], names: str) -> None:
    assert_refused(store, lambda: store.backend.make("count", BOTH, **options), kind, names)


@pytest.mark.parametrize("kind", ["median", "Series", 5, ["series"]])
def test_unknown_types(store: Store, kind: Any) -> None:
    with pytest.raises(NotImplementedError, match="series") as caught:
        Timeseries(store.client, type=kind, intervals=MINUTE)
    assert isinstance(caught.value, KairosException)


def test_unknown_options_are_warnings_that_name_the_nearest(store: Store) -> None:
    with pytest.warns(UserWarning, match="'reed_func'.*'read_func'") as caught:
        store.backend.make("count", BOTH, reed_func=float)
    with pytest.warns(UserWarning, match="minute.*'stepps'.*'steps'"):
        store.backend.make("count", {"minute": {"step": 60, "stepps": 5}})
    assert len(caught) == 1


NAMES = [
    (None, TypeError, "None"),
    (5, TypeError, "5"),
    (b"a", TypeError, "b'a'"),
    ({"$gt": ""}, TypeError, "$gt"),
    (["a"], TypeError, "a"),
    ("", ValueError, "empty"),
    ("a\0b", ValueError, "NUL"),
    ("\ud800", ValueError, "name"),
]


@pytest.mark.parametrize(("name", "kind", "names"), NAMES)
def test_names(store: Store, name: Any, kind: type[Exception], names: str) -> None:
    series = store.make("count")
    assert_refused(store, lambda: series.insert(name, 1, 90), kind, names)
    assert_refused(store, lambda: series.bulk_insert([(90, "a", 1), (90, name, 1)]), kind, names)
    if name.__hash__ is not None:
        bulk = {90: {"a": [1], name: [1]}}
        assert_refused(store, lambda: series.bulk_insert(bulk), kind, names)
    assert_refused(store, lambda: series.get(name if name != ["a"] else [[]], "minute"), kind)


@pytest.mark.parametrize(
    ("timestamp", "kind", "names"),
    [
        (float("nan"), ValueError, "nan"),
        (float("inf"), ValueError, "inf"),
        (float("-inf"), ValueError, "inf"),
        (NAIVE, ValueError, "naive"),
        ("1362486896", TypeError, "1362486896"),
        ("now", TypeError, "now"),
        ([90], TypeError, "90"),
        (object(), TypeError, "object"),
    ],
)
@pytest.mark.parametrize("type_", ["count", "series"])
def test_timestamps(
    store: Store, type_: str, timestamp: Any, kind: type[Exception], names: str
) -> None:
    series = store.make(type_)
    assert_refused(store, lambda: series.insert("a", 1, timestamp), kind, names)
    assert_refused(store, lambda: series.bulk_insert([(timestamp, "a", 1)]), kind, names)
    if not isinstance(timestamp, list):
        bulk = {90: {"a": [1]}, timestamp: {"a": [1]}}
        assert_refused(store, lambda: series.bulk_insert(bulk), kind, names)


def test_timestamps_out_of_the_calendar(store: Store) -> None:
    series = store.make("count", {**MINUTE, "year": {"step": "yearly"}})
    for timestamp in (10**12, -(10**12)):
        assert_refused(
            store, lambda at=timestamp: series.insert("a", 1, at), ValueError, str(timestamp)
        )
        assert_refused(
            store,
            lambda at=timestamp: series.bulk_insert({90: {"a": [1]}, at: {"a": [1]}}),
            ValueError,
        )
    assert_refused(store, lambda: series.insert("a", 1, 90, intervals=9000), ValueError, "9999")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("many", ValueError),
        ("", ValueError),
        ("1,5", ValueError),
        ("0x10", ValueError),
        (b"x", ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("nan", ValueError),
        ("-inf", ValueError),
        (2**64, ValueError),
        (None, TypeError),
        ({"$inc": 1}, TypeError),
        (object(), TypeError),
        (1j, TypeError),
        ([1, "x"], ValueError),
        ([[1]], TypeError),
    ],
)
def test_counts_that_are_no_numbers(store: Store, value: Any, kind: type[Exception]) -> None:
    series = store.make("count")
    assert_refused(store, lambda: series.insert("a", value, 90), kind)
    assert_refused(store, lambda: series.bulk_insert({90: {"a": [1], "b": value}}), kind)
    assert_refused(store, lambda: series.bulk_insert([(90, "a", 1), (90, "a", value)]), kind)


@pytest.mark.parametrize("type_", ["series", "histogram", "gauge", "set"])
def test_values_that_the_store_cannot_hold(store: Store, type_: str) -> None:
    series = store.make(type_)
    unfit: list[Any] = [object(), {1, 2}.__iter__(), lambda: 5, "\ud800", type]
    if store.kind == "sql":
        unfit += ["many", None, b"\xff", {"a": 1}]
    if store.kind == "redis":
        unfit += [None, {"a": 1}, True]
    if store.kind == "mongo":
        unfit += [{"a": object()}]
    if type_ in ("histogram", "set"):
        unfit += [{"a": []}, bytearray(b"x") if store.kind == "sql" else {"a": {}}]
    for value in unfit:
        for call in (
            lambda value=value: series.insert("a", value, 90),
            lambda value=value: series.insert("a", [1, value], 90),
            lambda value=value: series.bulk_insert({90: {"a": [1], "b": [value]}}),
        ):
            before = store.look()
            with pytest.raises((ValueError, TypeError)) as caught:
                call()
            assert isinstance(caught.value, KairosException), value
            assert store.look() == before


@pytest.mark.parametrize("type_", ["series", "histogram", "gauge", "set"])
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**63, 2**70, -(2**70), "x" * 100_000]
)
def test_what_is_stored_reads_back_and_what_does_not_is_refused(
    store: Store, type_: str, value: Any
) -> None:
    make = store.texts if isinstance(value, str) else store.numbers
    series = make(type_, **({} if isinstance(value, str) else {"read_func": float}))
    try:
        series.insert("a", value, 90)
    except (InvalidValue, InvalidType):
        assert store.look() == []
        return
    (row,) = series.get("a", "minute", timestamp=90).values()
    (got,) = [row] if type_ == "gauge" else row
    expected = value if isinstance(value, str) else float(value)
    assert got == expected or (got != got and expected != expected)


@pytest.mark.parametrize("type_", TYPES)
def test_calls(store: Store, type_: str) -> None:
    series = store.make(type_)
    refused: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: series.insert("a", 1, 90, interval=2), TypeError, "interval"),
        (lambda: series.insert("a", 1, tymestamp=90), TypeError, "tymestamp"),
        (lambda: series.bulk_insert({90: {"a": [1]}}, timestamp=5), TypeError, "timestamp"),
        (lambda: series.insert("a", 1, 90, intervals=1.5), TypeError, "1.5"),
        (lambda: series.insert("a", 1, 90, intervals="2"), TypeError, "2"),
        (lambda: series.bulk_insert({90: {"a": [1]}}, intervals="2"), TypeError, "2"),
        (lambda: series.insert("a", 1, 90, id=b"x"), TypeError, "id"),
        (lambda: series.insert("a", 1, 90, id=""), ValueError, "id"),
        (lambda: series.insert("a", 1, 90, id=1.5), TypeError, "id"),
    ]
    if type_ != "count":
        refused.append((lambda: series.insert("a"), TypeError, type_))
    for call, kind, names in refused:
        assert_refused(store, call, kind, names)


@pytest.mark.parametrize("type_", TYPES)
def test_an_error_of_write_func_passes_and_writes_nothing(store: Store, type_: str) -> None:
    def refuse(value: Any) -> Any:
        if value == 3:
            raise ZeroDivisionError("three")
        return value

    series = store.make(type_, write_func=refuse)
    for call in (
        lambda: series.insert("a", 3, 90),
        lambda: series.insert("a", [1, 3], 90),
        lambda: series.bulk_insert({90: {"a": [1]}, 91: {"b": [2, 3]}}),
        lambda: series.bulk_insert([(90, "a", 1), (90, "a", 3)]),
    ):
        with pytest.raises(ZeroDivisionError, match="three"):
            call()
    assert store.look() == []


def test_a_drivers_own_error_passes_through(store: Store) -> None:
    """A server that cannot be reached is the driver's to report."""
    if store.kind == "redis":
        import redis

        series = Timeseries("redis://127.0.0.1:1/0", type="count", intervals=MINUTE)
        expected: Any = redis.ConnectionError
    elif store.kind == "mongo":
        import pymongo.errors

        options = {"serverSelectionTimeoutMS": 50}
        url = "mongodb://127.0.0.1:1/kairos"
        series = Timeseries(url, type="count", intervals=MINUTE, client_config=options)
        expected = pymongo.errors.ServerSelectionTimeoutError
    else:
        import sqlalchemy.exc

        expected = sqlalchemy.exc.OperationalError
        with pytest.raises(expected):
            Timeseries("sqlite:////nowhere/at/all.db", type="count", intervals=MINUTE).list()
        return
    for call in (
        lambda: series.insert("a", 1),
        lambda: series.get("a", "minute"),
        lambda: series.series("a", "minute"),
        lambda: series.list(),
        lambda: series.delete("a"),
    ):
        with pytest.raises(expected):
            call()
