"""Servers that are killed while many write, and come back."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import kairos

from ..support.servers import (
    MariaDBServer,
    MongoReplicaSet,
    PostgresServer,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    poll,
)
from .ledger import KEPT, Ledger, has_replicated, in_threads, judge_everywhere

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
WRITERS = 4


def hammer(series: Any, strike: Callable[[], None], times: int) -> tuple[Ledger, Ledger]:
    """Write from several threads, half of them events that are delivered again, through some strikes."""
    plain, events = Ledger(), Ledger()
    values = itertools.count()

    def work(number: int, stop: threading.Event) -> None:
        while not stop.is_set():
            value = next(values)
            if number % 2:
                plain.write(lambda value: series.insert("plain", value), value)
            else:
                events.deliver(lambda value: series.insert("events", value, id=f"e{value}"), value)
            if value % 10 == 0:
                time.sleep(0.01)

    finish = in_threads(work, WRITERS)
    try:
        for _ in range(times):
            time.sleep(0.7)
            strike()
        time.sleep(0.7)
    finally:
        finish()
    assert len(plain.acknowledged) > 20
    assert len(events.acknowledged) > 20
    return plain, events


def judge(series: Any, books: tuple[Ledger, Ledger], *, whole: bool = True) -> None:
    for name, ledger in zip(("plain", "events"), books, strict=True):
        judge_everywhere(ledger, series, name, whole=whole and name == "plain")


def without_expiry(server: RedisServer) -> list[str]:
    """Return the keys of a Redis server that would stay for ever."""
    keys = server.call("KEYS", "*")
    return [key for key in keys if server.call("TTL", key) == -1]


def test_redis(launch: Any) -> None:
    server = launch(RedisServer(*DURABLE))
    series = kairos.Timeseries(server.url, prefix="k", read_func=int, intervals=KEPT)

    def strike() -> None:
        server.kill()
        server.restart()

    judge(series, hammer(series, strike, 3))
    assert without_expiry(server) == []


def test_redis_cluster_with_a_dead_master(launch: Any) -> None:
    """What lay on the dead master's replica is a matter of replication; the others lose nothing."""
    cluster = launch(RedisCluster())
    series = kairos.Timeseries(cluster.url, prefix="k", read_func=int, intervals=KEPT)
    books = hammer(series, lambda: None, 2)
    judge(series, books, whole=False)
    masters = [node for node in cluster.members if node.info()["role"] == "master"]
    for node in masters:
        assert without_expiry(node) == []
    masters[0].kill()
    # Writes go on as soon as a replica has taken over.
    Ledger().deliver(lambda value: series.insert("after", value, id=str(value)), 1)
    series.insert("after", 1, id="1")
    assert series.get("after", "hour").popitem()[1] == [1]


def test_redis_sentinel_with_a_dead_master(launch: Any) -> None:
    sentinel = launch(RedisSentinel())
    series = kairos.Timeseries(sentinel.url, prefix="k", read_func=int, intervals=KEPT)
    for value in range(20):
        series.insert("a", value)
    # Redis answers before its replicas have the write; what they lack dies with the master.
    master = sentinel.current_master()
    poll(lambda: has_replicated(master), "the replicas to have it all")
    master.kill()
    Ledger().deliver(lambda value: series.insert("a", value, id=str(value)), 20)
    series.insert("a", 20, id="20")
    assert series.get("a", "hour").popitem()[1] == list(range(21))


def test_postgresql(launch: Any) -> None:
    server = launch(PostgresServer())
    series = kairos.Timeseries(server.url, value_type=int, intervals=KEPT)

    def strike() -> None:
        server.kill()
        server.restart()

    judge(series, hammer(series, strike, 2))


def test_mariadb(launch: Any) -> None:
    server = launch(MariaDBServer())
    series = kairos.Timeseries(server.url, value_type=int, intervals=KEPT)

    def strike() -> None:
        server.kill()
        server.restart()

    judge(series, hammer(series, strike, 2))


def test_mongodb_primary(launch: Any) -> None:
    """With w: majority, nothing that was acknowledged depends on the member that dies."""
    replicas = launch(MongoReplicaSet())
    url = replicas.url + "&w=majority&serverSelectionTimeoutMS=20000"
    series = kairos.Timeseries(url, intervals=KEPT)
    series.insert("warm-up", 1)
    dead: list[Any] = []

    def strike() -> None:
        for member in dead:
            member.restart()
        dead[:] = [replicas.primary()]
        dead[0].kill()

    judge(series, hammer(series, strike, 2))
