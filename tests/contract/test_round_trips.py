"""How often each call goes to the server, counted where the driver talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .store import KEPT, TYPES, Store, as_number

#: Reads of every shape: one name and several, ranges, merged and not, with transforms by name.
READS: list[tuple[str, dict[str, Any]]] = [
    ("get", {"timestamp": 90}),
    ("get", {"timestamp": 90, "condense": True}),
    ("get", {"timestamp": 90, "transform": "count"}),
    ("series", {"start": 0, "end": 60 * 200}),
    ("series", {"start": 0, "end": 60 * 200, "condense": True}),
    ("series", {"start": 0, "end": 60 * 200, "collapse": True}),
    ("series", {"start": 0, "end": 60 * 200, "transform": ["count", "rate"]}),
    ("series", {"start": 0, "end": 60 * 200, "transform": ["sum", "count"], "condense": True}),
    (
        "series",
        {"start": 0, "end": 60 * 200, "transform": ["mean", "min", "max"], "collapse": True},
    ),
]


class Counting:
    """Count what goes to a server."""

    def __init__(self) -> None:
        self.trips: list[Any] = []

    @contextmanager
    def expect(self, fewest: int, most: int) -> Iterator[None]:
        """Check how many round trips a block makes."""
        self.trips.clear()
        yield
        assert fewest <= len(self.trips) <= most, self.trips


def exercise(series: Any, counting: Counting, most: dict[str, int]) -> None:
    """Check reads of every shape, with data and without, against the number allowed per interval."""
    for names in ("a", ["a", "b", "c", "none"], "none"):
        for interval in ("minute", "hour"):
            for method, keywords in READS:
                with counting.expect(1, most[interval]):
                    getattr(series, method)(names, interval, **keywords)


def filled(store: Store, kind: str, client: Any, **options: Any) -> Any:
    series = store.backend.make(kind, client=client, read_func=as_number, **options)
    series.bulk_insert(
        (timestamp, name, 3) for name in "abc" for timestamp in range(0, 60 * 150, 45)
    )
    # What has to be learned once (scripts, indexes, versions) is known now.
    series.get("a", "hour", timestamp=90)
    series.insert("a", 3, timestamp=90)
    return series


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_redis(store: Store, kind: str) -> None:
    if store.name != "redis":
        pytest.skip("counted on one kind of connection")
    import redis

    counting = Counting()

    class Connection(redis.Connection):
        def send_packed_command(self, command: Any, *args: Any, **kwargs: Any) -> None:
            counting.trips.append(command)
            super().send_packed_command(command, *args, **kwargs)

    pool = redis.ConnectionPool.from_url(store.backend.url, connection_class=Connection)
    client = redis.Redis(connection_pool=pool)
    series = filled(store, kind, client)
    for call in (
        lambda: series.insert("a", 3, timestamp=90),
        lambda: series.insert("a", [3, 4, 5], timestamp=90, intervals=3),
        lambda: series.insert("new", 3, timestamp=90),
        lambda: series.insert("a", 3, timestamp=90, id="an event"),
        lambda: series.bulk_insert({60 * n: {"a": [1, 2], "b": [3]} for n in range(100)}),
        lambda: series.bulk_insert((60 * n, "a", 1) for n in range(200)),
    ):
        with counting.expect(1, 1):
            call()
    exercise(series, counting, {"minute": 1, "hour": 2})
    kept = store.backend.make(kind, KEPT, client=client, space="kept")
    kept.insert("a", 3)
    with counting.expect(1, 1):
        kept.insert("a", 3)
    counting.trips.clear()
    assert len(list(series.iterate("a", "minute"))) == 200
    # How long it takes to find the ends depends on all that others keep on this server.
    assert len([trip for trip in counting.trips if b"SCAN" not in b"".join(trip)]) == 1
    pool.disconnect()


@pytest.mark.backends("mongo")
@pytest.mark.parametrize("kind", TYPES)
def test_mongo(store: Store, kind: str) -> None:
    import pymongo
    from pymongo import monitoring

    counting = Counting()

    class Listener(monitoring.CommandListener):
        def started(self, event: Any) -> None:
            counting.trips.append(event.command_name)

        def succeeded(self, event: Any) -> None:
            """Not counted."""

        def failed(self, event: Any) -> None:
            """Not counted."""

    with pymongo.MongoClient(store.backend.url, event_listeners=[Listener()]) as client:
        series = filled(store, kind, client)
        for call in (
            lambda: series.insert("a", 3, timestamp=90),
            lambda: series.insert("a", [3, 4, 5], timestamp=90, intervals=3),
            lambda: series.insert("new", 3, timestamp=90),
            lambda: series.bulk_insert({60 * n: {"a": [1, 2], "b": [3]} for n in range(100)}),
        ):
            # One command for each of the two collections; where there are transactions, their end too.
            transaction = 1 if store.name == "mongo-replicaset" else 0
            with counting.expect(2, 2 + transaction):
                call()
            assert counting.trips[:2] == ["update", "update"]
        exercise(series, counting, {"minute": 1, "hour": 1})
        with counting.expect(1, 6):
            assert len(list(series.iterate("a", "minute"))) == 150


@pytest.mark.backends("sql")
@pytest.mark.parametrize("kind", TYPES)
def test_sql(store: Store, kind: str) -> None:
    from sqlalchemy import event

    series = filled(store, kind, None)
    statements = Counting()
    commits = Counting()

    def executed(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.trips.append(statement)

    def committed(connection: Any) -> None:
        commits.trips.append(connection)

    event.listen(store.client, "before_cursor_execute", executed)
    event.listen(store.client, "commit", committed)
    try:
        for call in (
            lambda: series.insert("a", 3, timestamp=90),
            lambda: series.insert("a", [3, 4, 5], timestamp=90, intervals=3),
            lambda: series.insert("new", 3, timestamp=90),
            lambda: series.bulk_insert({60 * n: {"a": [1, 2], "b": [3]} for n in range(100)}),
        ):
            with commits.expect(1, 1):
                call()
        exercise(series, statements, {"minute": 1, "hour": 1})
        with statements.expect(1, 8):
            assert len(list(series.iterate("a", "minute"))) == 150
    finally:
        event.remove(store.client, "before_cursor_execute", executed)
        event.remove(store.client, "commit", committed)
