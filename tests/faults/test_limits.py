"""Stores that refuse: out of memory, out of disk, read-only; and clocks that jump."""

from __future__ import annotations

import time
from typing import Any

import pytest

import kairos
from kairos import KairosException

from ..support.backends import Backend
from ..support.servers import RedisServer, poll
from .ledger import KEPT, Ledger, has_replicated, judge_everywhere

pytestmark = pytest.mark.faults


def test_redis_without_memory(launch: Any) -> None:
    """An insert that no memory is left for is refused whole, and says so in the server's words."""
    import redis

    server = launch(RedisServer("--maxmemory", "3mb", "--maxmemory-policy", "noeviction"))
    series = kairos.Timeseries(server.url, prefix="k", read_func=len, intervals=KEPT)
    text = "x" * 20_000
    refused = []
    for number in range(300):
        try:
            series.insert(f"n{number % 7}", text)
        except redis.exceptions.ResponseError as error:
            refused.append(error)
    assert refused
    assert all("maxmemory" in str(error) for error in refused)
    assert not any(isinstance(error, KairosException) for error in refused)
    for number in range(7):
        row = series.properties(f"n{number}")
        counts = [
            sum(series.series(f"n{number}", interval, steps=2, collapse=True, transform="count").values())
            for interval in KEPT
        ]
        assert row
        assert counts[0] == counts[1]
    assert all(server.call("TTL", key) > 0 for key in server.call("KEYS", "*"))


def test_a_read_only_replica_of_redis(launch: Any) -> None:
    import redis

    master = launch(RedisServer())
    replica = launch(RedisServer("--replicaof", "127.0.0.1", str(master.port)))
    poll(lambda: replica.info()["master_link_status"] == "up", "the replica to be in sync")
    kinds = ("series", "histogram", "count", "gauge", "set")
    for kind in kinds:
        kairos.Timeseries(master.url, type=kind, prefix=kind, intervals=KEPT).insert("a", 3)
    poll(lambda: has_replicated(master), "the replica to have it all")
    for kind in kinds:
        there = kairos.Timeseries(master.url, type=kind, prefix=kind, intervals=KEPT)
        here = kairos.Timeseries(replica.url, type=kind, prefix=kind, intervals=KEPT)
        for interval in KEPT:
            assert here.get("a", interval) == there.get("a", interval)
            assert here.get(["a", "b"], interval) == there.get(["a", "b"], interval)
        with pytest.raises(redis.exceptions.ReadOnlyError):
            here.insert("a", 4)


def test_sqlite_on_a_full_disk(tmp_path: Any) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'full.db'}")

    @sqlalchemy.event.listens_for(engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA max_page_count = 40")

    series = kairos.Timeseries(engine, value_type=int, intervals=KEPT)
    ledger = Ledger()
    for value in range(3000):
        ledger.write(lambda value: series.insert("a", value), value)
    assert ledger.refused
    assert not ledger.unknown
    judge_everywhere(ledger, series, "a")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="full"):
        series.bulk_insert((None, "a", value) for value in range(3000))
    engine.dispose()


@pytest.mark.backends("=redis", "=mongo", "sqlite", "postgresql", "mariadb")
def test_a_clock_that_jumps(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says, each value lies where its time was, once, and with an expiry."""
    options: dict[str, Any] = {"value_type": int} if backend.kind == "sql" else {"read_func": int}
    series = backend.make("series", KEPT, **options)
    now = int(time.time()) // 3600 * 3600 + 1800
    times = [now, now + 3600, now - 7200, now + 86_400, now + 10, now - 3 * 86_400, now]
    for value, second in enumerate(times):
        monkeypatch.setattr(time, "time", lambda second=second: second + 0.5)
        series.insert("a", value)
        series.bulk_insert([(None, "a", value + 100)])
    monkeypatch.undo()
    for value, second in enumerate(times):
        row = series.get("a", "hour", timestamp=second).popitem()[1]
        assert row.count(value) == 1
        assert row.count(value + 100) == 1
    if backend.kind == "redis":
        keys = list(backend.client.scan_iter(match=f"{backend.namespace}*"))
        assert [key for key in keys if backend.client.ttl(key) == -1] == []
