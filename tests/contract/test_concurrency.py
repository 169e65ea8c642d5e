"""Many writers at once: no update is lost, and no bucket has two rows or documents."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .store import KEPT, TYPES, Store, as_number

THREADS = 6
INSERTS = 8


@pytest.fixture(autouse=True)
def _only_where_threads_share(store: Store) -> None:
    if not store.backend.threads:
        pytest.skip("each thread has a database of its own")


def at_once(work: Callable[[int], None], threads: int = THREADS) -> None:
    """Run a function in several threads that start together; an error of any is raised."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run, number) for number in range(threads)]:
            done.result()


def identities(store: Store) -> list[Any]:
    """Return what tells the rows or documents that lie in the store apart."""
    found: list[Any] = []
    for entry in store.look():
        if store.kind == "redis":
            found.append(entry[0])
        elif store.kind == "mongo":
            collection, document = entry
            keys = ("name", "interval", "resolution")
            found.append((collection, *(document.get(key) for key in keys)))
        else:
            keys = ("name", "interval", "i_time", "r_time")
            # Series have a row for every value; the others one per bucket, or per value of it.
            more = (
                (entry.get("value"),)
                if "count" in entry or "insert_time" not in entry
                else (id(entry),)
            )
            found.append((*(entry[key] for key in keys), *more))
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_no_update_of_one_bucket_is_lost(store: Store, kind: str) -> None:
    series = store.numbers(kind)

    def work(number: int) -> None:
        for step in range(INSERTS):
            if step % 4 == 3:
                series.bulk_insert({90: {"a": [step]}, 100: {"a": [100 + number]}})
            else:
                series.insert("a", [step, 100 + number], timestamp=90)

    at_once(work)
    values = Counter(
        value
        for number in range(THREADS)
        for step in range(INSERTS)
        for value in (step, 100 + number)
    )
    for interval in ("minute", "hour"):
        (row,) = series.get("a", interval, timestamp=90).values()
        if kind == "series":
            assert Counter(row) == values
        elif kind == "histogram":
            assert row == values
        elif kind == "count":
            assert row == sum(values.elements())
        elif kind == "gauge":
            assert row in {100 + number for number in range(THREADS)}
        else:
            assert row == set(values)
    found = identities(store)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("kind", TYPES)
def test_series_that_are_made_at_once(store: Store, kind: str) -> None:
    """Every thread has a client and a series of its own, and finds no table and no index yet."""
    threads = 4
    clients = [
        store.client if store.name in ("sqlite-memory", "fakeredis") else store.backend.connect()
        for _ in range(threads)
    ]
    options = {"read_func": as_number}

    def work(number: int) -> None:
        series = store.backend.make(kind, KEPT, client=clients[number], **options)
        for value in (number, 9):
            series.insert("a", value)
        assert series.list() == ["a"]

    at_once(work, threads)
    series = store.numbers(kind, KEPT)
    expected: Any = {
        "series": Counter({**dict.fromkeys(range(threads), 1), 9: threads}),
        "histogram": {**dict.fromkeys(range(threads), 1), 9: threads},
        "count": sum(range(threads)) + 9 * threads,
        "set": {*range(threads), 9},
    }
    for interval in KEPT:
        row = series.series("a", interval, collapse=True)
        (value,) = row.values()
        if kind == "gauge":
            assert value == 9 or value in range(threads)
        else:
            assert (Counter(value) if kind == "series" else value) == expected[kind]
    found = identities(store)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("kind", ["count", "histogram", "set"])
def test_bulks_in_opposite_orders_do_not_block_each_other(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    names = [f"n{number}" for number in range(12)]

    def work(number: int) -> None:
        order = names if number % 2 else names[::-1]
        for _ in range(3):
            series.bulk_insert(
                (timestamp, name, 1) for name in order for timestamp in (0, 60, 3600)
            )

    at_once(work, 4)
    for name in names:
        (row,) = series.series(name, "hour", start=0, end=3600, collapse=True).values()
        assert row == {"count": 36, "histogram": {1: 36}, "set": {1}}[kind]


def test_an_event_that_is_delivered_many_times_at_once_counts_once(store: Store) -> None:
    store.needs_events()
    series = store.make("count")

    def work(number: int) -> None:
        for event in range(4):
            series.insert("a", 10**event, timestamp=90 + number, id=f"order-{event}")

    at_once(work)
    assert series.series("a", "minute", start=90, collapse=True) == {60: 1111}
    assert series.series("a", "hour", start=90, collapse=True) == {0: 1111}


def test_reads_see_whole_inserts(store: Store) -> None:
    """A reader beside a writer never sees more in the resolutions than was written."""
    series = store.make("count")
    series.insert("a", 1, timestamp=90)
    seen: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            if number:
                seen.append(series.get("a", "hour", timestamp=90, condense=True)[0])
            else:
                series.insert("a", 1, timestamp=90)

    at_once(work, 2)
    assert seen == sorted(seen)
    assert set(seen) <= set(range(1, 12))
    assert series.get("a", "hour", timestamp=90) == {60: 11}
