"""A proxy that loses replies: a write is never applied twice, whatever the client's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kairos
from kairos import UnknownOutcome

from ..support.backends import Backend
from ..support.proxy import FaultProxy
from .ledger import KEPT, Ledger, judge_everywhere

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def redis_client(url: str, **options: Any) -> Any:
    import redis

    return redis.Redis.from_url(url, **options)


def with_retries(url: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    failures: list[type[Exception]] = [redis.ConnectionError, redis.TimeoutError]
    return redis_client(url, retry=Retry(NoBackoff(), 5), retry_on_error=failures)


def valkey_client(url: str) -> Any:
    import valkey

    return valkey.Valkey.from_url(url)


def mongo_client(url: str, **options: Any) -> Any:
    import pymongo

    return pymongo.MongoClient(url, serverSelectionTimeoutMS=5000, **options)


def engine(url: str, **options: Any) -> Any:
    import sqlalchemy

    return sqlalchemy.create_engine(url, **options)


#: server: name of the client's settings: how it is made
CLIENTS: dict[str, dict[str, Callable[[str], Any]]] = {
    "redis": {
        "default": redis_client,
        "retries": with_retries,
        "single": lambda url: redis_client(url, single_connection_client=True),
        "health-checks": lambda url: redis_client(url, health_check_interval=1),
        "small-pool": lambda url: redis_client(url, max_connections=2),
        "valkey": valkey_client,
    },
    "mongo": {
        "default": mongo_client,
        "no-retries": lambda url: mongo_client(url, retryWrites=False),
    },
    "postgresql": {
        "default": engine,
        "pre-ping": lambda url: engine(url, pool_pre_ping=True),
        "autocommit": lambda url: engine(url, isolation_level="AUTOCOMMIT"),
    },
    "mariadb": {"default": engine, "pre-ping": lambda url: engine(url, pool_pre_ping=True)},
}
SERVERS = ("=redis", "=mongo", "postgresql", "mariadb")
#: What a write has in it and nothing else that a client sends; READ COMMITTED is sent, too.
WRITE = {
    "redis": b"EVALSHA",
    "mongo": b"update",
    "postgresql": b"COMMIT\0",
    "mariadb": b"\x03COMMIT",
}


def make(backend: Backend, client: Any, **options: Any) -> Any:
    series: Any = backend.make("series", KEPT, client=client, read_func=int, **options)
    return series


@pytest.mark.backends("=redis")
def test_the_client_alone_would_count_twice(
    backend: Backend, proxied: Callable[[str], FaultProxy]
) -> None:
    """Show that the faults of this module bite: a retrying client repeats what was executed."""
    proxy = proxied(backend.url)
    client = with_retries(proxy.url)
    key = backend.location() + ":plain"
    proxy.drop_replies(1, match=b"INCRBY")
    client.incrby(key, 1)
    assert int(client.get(key)) == 2
    client.close()


@pytest.mark.backends(*SERVERS)
def test_a_lost_reply_never_counts_twice(
    backend: Backend, proxied: Callable[[str], FaultProxy]
) -> None:
    for settings, connect in CLIENTS[backend.name].items():
        proxy = proxied(backend.url)
        client = connect(proxy.url)
        lose_replies(backend, proxy, make(backend, client, space=settings))
        (client.dispose if backend.kind == "sql" else client.close)()


def lose_replies(backend: Backend, proxy: FaultProxy, series: Any) -> None:
    series.insert("a", 0)
    ledger = Ledger({0})
    for value in range(1, 61):
        if value % 3 == 0:
            proxy.drop_replies(1, match=WRITE[backend.name])
        elif value % 7 == 0:
            proxy.cut_reply(1, 1, match=WRITE[backend.name])
        elif value % 11 == 0:
            proxy.cut_request(3, 1, match=WRITE[backend.name])
        ledger.write(lambda value: series.insert("a", value), value)
        proxy.pass_on()
    assert ledger.unknown, "no reply was lost: the test has tested nothing"
    # A standalone MongoDB promises no more than a whole document.
    judge_everywhere(ledger, series, "a", whole=backend.kind != "mongo")
    # An answer that was lost is named as such, in words and by the driver's own class. A connection
    # that broke earlier, and was still in the pool, gives the driver's error alone: nothing was sent.
    for value in range(1000, 1010):
        proxy.drop_replies(1, match=WRITE[backend.name])
        with pytest.raises(Exception) as raised:
            series.insert("b", value)
        proxy.pass_on()
        if isinstance(raised.value, UnknownOutcome):
            break
    assert "applied once or not at all" in str(raised.value)
    assert isinstance(raised.value, type(raised.value.__cause__))


@pytest.mark.backends(*SERVERS)
def test_an_event_survives_every_lost_reply(
    backend: Backend, proxied: Callable[[str], FaultProxy]
) -> None:
    """A caller that delivers an event again after each error has it counted exactly once."""
    proxy = proxied(backend.url)
    client = CLIENTS[backend.name]["default"](proxy.url)
    series = make(backend, client)
    ledger = Ledger()
    for value in range(40):
        match = b"" if value % 2 else WRITE[backend.name]
        (proxy.drop_replies if value % 3 else lambda count, match: proxy.cut_request(5, count, match))(
            1, match
        )
        ledger.deliver(lambda value: series.insert("a", value, id=f"event-{value}"), value)
        # And once more, as a queue would.
        series.insert("a", value, id=f"event-{value}")
        proxy.pass_on()
    assert proxy.strikes >= 30
    judge_everywhere(ledger, series, "a")
    (client.dispose if backend.kind == "sql" else client.close)()


@pytest.mark.backends(*SERVERS)
def test_a_server_that_is_not_there_is_no_unknown_outcome(
    backend: Backend, proxied: Callable[[str], FaultProxy]
) -> None:
    """Nothing was sent: the driver's own error passes through unchanged."""
    proxy = proxied(backend.url)
    client = CLIENTS[backend.name]["default"](proxy.url)
    series = make(backend, client)
    series.insert("a", 1)
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(Exception) as raised:
            series.insert("a", 2)
        if backend.kind != "mongo":
            # pymongo has the broken connection in its pool once, and cannot know.
            assert not isinstance(raised.value, kairos.KairosException)
    assert not isinstance(raised.value, kairos.KairosException)
    proxy.pass_on()
    Ledger().deliver(lambda value: series.insert("a", value), 3)
    assert set(make(backend, backend.client).get("a", "hour").popitem()[1]) >= {1, 3}
    (client.dispose if backend.kind == "sql" else client.close)()


@pytest.mark.backends(*SERVERS)
def test_reads_outlive_a_lost_reply_or_raise(
    backend: Backend, proxied: Callable[[str], FaultProxy]
) -> None:
    """A read that fails raises; one that succeeds after a fault is right."""
    proxy = proxied(backend.url)
    client = CLIENTS[backend.name]["default"](proxy.url)
    series = make(backend, client)
    series.insert("a", [1, 2, 3])
    wrong, failed = 0, 0
    for size in range(30):
        proxy.cut_reply(size * 7, 1)
        for _ in range(2):
            try:
                wrong += series.get("a", "hour").popitem()[1] != [1, 2, 3]
            except kairos.KairosException:
                raise
            except Exception:  # noqa: BLE001 - any of the driver's errors
                failed += 1
        proxy.pass_on()
    assert wrong == 0
    assert proxy.strikes >= 25
    assert failed <= proxy.strikes
    Ledger().deliver(lambda value: series.get("a", "hour"), 0)
    (client.dispose if backend.kind == "sql" else client.close)()
