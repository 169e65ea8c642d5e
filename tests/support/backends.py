"""The list of backends that the contract suite runs on, and the handle that a test gets of one.

A backend here is a client library, as an application would set it up, together with a server:
``redis`` and ``redis-resp3`` are one server seen through two clients. ``BACKENDS`` has them all, as
``pytest.param`` by name. Those with the mark ``engines`` are the distributed servers, and variants
of clients; the others are the core that every change is tested on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast
from urllib.parse import urlsplit

import pytest

from .servers import (
    Group,
    MariaDBServer,
    Mongod,
    MongoReplicaSet,
    PgBouncer,
    PostgresServer,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    Server,
    ServerFailed,
    ServerMissing,
    new_directory,
    remove_directory,
)

if TYPE_CHECKING:
    import kairos

Kind = Literal["redis", "mongo", "sql"]

#: The intervals of a series for which a test asks for none: coarse, and with resolutions; both keep
#: everything, so that timestamps of the past can be used.
INTERVALS: Final = {"minute": {"step": 60}, "hour": {"step": 3600, "resolution": 60}}


# ------------------------------------------------------------------------------------------ servers


def give_up(error: ServerMissing) -> NoReturn:
    """Skip the test for want of a server; fail it in CI, where every server is promised."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


class Servers:
    """The servers of a test session, each found or started when a test first needs it.

    A server that the environment names is used: ``KAIROS_TEST_REDIS``, ``KAIROS_TEST_MONGO``,
    ``KAIROS_TEST_POSTGRESQL``, ``KAIROS_TEST_MARIADB``. Without the variable one is started, which keeps
    its data in memory and is many times faster than one that the system runs; where the program is
    missing, one that answers at the usual local address will do. Where there is none the test is skipped;
    it fails, though, when the variable promised a server, and when ``CI`` is ``true``.
    """

    def __init__(self) -> None:
        """Start nothing."""
        self._own = contextlib.ExitStack()

    def close(self) -> None:
        """End the servers that were started."""
        self._own.close()

    def start(self, make: Callable[[], Server | Group]) -> str:
        """Start a server for the rest of the session and return its URL."""
        try:
            return self._start(make)
        except ServerMissing as error:
            give_up(error)

    def _start(self, make: Callable[[], Server | Group]) -> str:
        server = make()
        self._own.callback(server.close)
        return server.start().url

    def _find(
        self,
        variable: str,
        usual: str,
        answers: Callable[[str], None],
        make: Callable[[], Server | Group],
    ) -> str:
        """Return the URL of the server of that variable, else of our own, else of the usual one.

        :param answers: raises an exception of any kind when there is no server at a URL.
        """
        named = os.environ.get(variable)
        if named:
            try:
                answers(named)
            except Exception as error:  # noqa: BLE001 - drivers have many, and all mean the same here
                pytest.fail(f"{variable}={named} does not answer: {error}", pytrace=False)
            return named
        try:
            return self._start(make)
        except ServerMissing as error:
            with contextlib.suppress(Exception):
                answers(usual)
                return usual
            give_up(error)

    @cached_property
    def redis(self) -> str:
        """Return the URL of a Redis server."""
        usual = "redis://127.0.0.1:6379/0"
        return self._find("KAIROS_TEST_REDIS", usual, _ping_redis, RedisServer)

    @cached_property
    def mongo(self) -> str:
        """Return the URL of a MongoDB server."""
        usual = "mongodb://127.0.0.1:27017/"
        return self._find("KAIROS_TEST_MONGO", usual, _ping_mongo, Mongod)

    @cached_property
    def postgresql(self) -> str:
        """Return the URL of a PostgreSQL database."""
        usual = "postgresql+psycopg://postgres@127.0.0.1:5432/test"
        return self._find("KAIROS_TEST_POSTGRESQL", usual, _ping_sql, PostgresServer)

    @cached_property
    def mariadb(self) -> str:
        """Return the URL of a MariaDB database."""
        usual = "mysql+pymysql://root@127.0.0.1:3306/test"
        return self._find("KAIROS_TEST_MARIADB", usual, _ping_sql, MariaDBServer)

    @cached_property
    def pgbouncer(self) -> str:
        """Return the URL of the PostgreSQL database by way of a pooler in transaction mode."""
        return self.start(partial(PgBouncer, self.postgresql))

    @cached_property
    def cluster(self) -> str:
        """Return the URL of a Redis Cluster."""
        return self.start(RedisCluster)

    @cached_property
    def sentinel(self) -> str:
        """Return the URL of a Redis service that sentinels watch."""
        return self.start(RedisSentinel)

    @cached_property
    def replica_set(self) -> str:
        """Return the URL of a MongoDB replica set."""
        return self.start(MongoReplicaSet)


def _ping_redis(url: str) -> None:
    with contextlib.closing(_redis(url)) as client:
        client.ping()


def _ping_mongo(url: str) -> None:
    with _mongo(url) as client:
        client.admin.command("ping")


def _ping_sql(url: str) -> None:
    engine = _engine(url)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


# ------------------------------------------------------------------------------------------ clients


def _redis(url: str, **options: Any) -> Any:
    import redis

    return redis.Redis.from_url(url, **options)


def _valkey(url: str) -> Any:
    import valkey

    return valkey.Valkey.from_url(url)


def _fakeredis(_: str) -> Any:
    import fakeredis

    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


def _cluster(url: str) -> Any:
    import redis

    parts = urlsplit(f"//{urlsplit(url).netloc.split(',')[0]}")
    return redis.RedisCluster(host=parts.hostname, port=parts.port or 6379)


def _sentinel(url: str) -> Any:
    from redis import sentinel

    parts = urlsplit(url)
    hosts = [host.split(":") for host in parts.netloc.split(",")]
    make: Any = sentinel.Sentinel  # not annotated in every version
    watched = make([(host, int(port)) for host, port in hosts])
    return watched.master_for(parts.path.split("/")[1])


def _mongo(url: str) -> Any:
    import pymongo

    return pymongo.MongoClient(url, serverSelectionTimeoutMS=10_000)


def _engine(url: str, **options: Any) -> Any:
    import sqlalchemy

    return sqlalchemy.create_engine(url, **options)


def _pooled(url: str) -> Any:
    # Needed by everyone who uses psycopg behind a pooler in transaction mode.
    return _engine(url, connect_args={"prepare_threshold": None})


def _close(kind: Kind, client: Any) -> None:
    (client.dispose if kind == "sql" else client.close)()


@dataclass(frozen=True)
class Spec:
    """How to reach one backend."""

    name: str
    kind: Kind
    #: Makes a client from a URL.
    connect: Callable[[str], Any]
    #: Returns the URL, given the servers and what cleans up when it is used no more.
    url: Callable[[Servers, contextlib.ExitStack], str]
    #: Whether tests share the store; otherwise each has a new one.
    shared: bool = True
    #: Whether other threads, and other processes, see what a client writes.
    threads: bool = True
    processes: bool = True


def _list_backends() -> Iterator[tuple[Spec, bool]]:
    """Yield every backend, and whether it is one of the core."""

    def on(server: str) -> Callable[[Servers, contextlib.ExitStack], str]:
        return lambda servers, _: cast(str, getattr(servers, server))

    def in_file(_: Servers, stack: contextlib.ExitStack) -> str:
        directory = new_directory("sqlite")
        stack.callback(remove_directory, directory)
        return f"sqlite:///{directory / 'kairos.db'}"

    def in_memory(*_: object) -> str:
        return "sqlite://"

    def fake(*_: object) -> str:
        return "redis://fake"

    yield Spec("redis", "redis", _redis, on("redis")), True
    yield Spec("mongo", "mongo", _mongo, on("mongo")), True
    yield Spec("sqlite", "sql", _engine, in_file, shared=False), True
    yield Spec("postgresql", "sql", _engine, on("postgresql")), True
    yield Spec("mariadb", "sql", _engine, on("mariadb")), True

    yield Spec("redis-decode", "redis", partial(_redis, decode_responses=True), on("redis")), False
    yield Spec("redis-resp2", "redis", partial(_redis, protocol=2), on("redis")), False
    yield Spec("redis-resp3", "redis", partial(_redis, protocol=3), on("redis")), False
    yield Spec("fakeredis", "redis", _fakeredis, fake, shared=False, processes=False), False
    yield Spec("valkey", "redis", _valkey, on("redis")), False
    yield Spec("redis-cluster", "redis", _cluster, on("cluster")), False
    yield Spec("redis-sentinel", "redis", _sentinel, on("sentinel")), False
    yield Spec("mongo-replicaset", "mongo", _mongo, on("replica_set")), False
    memory = Spec(
        "sqlite-memory", "sql", _engine, in_memory, shared=False, threads=False, processes=False
    )
    yield memory, False
    yield Spec("pgbouncer", "sql", _pooled, on("pgbouncer")), False


#: Every backend by its name, as a ``pytest.param`` whose first value is a :class:`Spec`.
BACKENDS: Final[dict[str, Any]] = {
    spec.name: pytest.param(spec, id=spec.name, marks=() if core else pytest.mark.engines)
    for spec, core in _list_backends()
}


def connect(name: str, url: str) -> Any:
    """Return a new client of a backend, for example in another process, which is given both texts."""
    return cast(Spec, BACKENDS[name].values[0]).connect(url)


# ------------------------------------------------------------------------------------------- handle


@dataclass
class Backend:
    """What a test gets of a backend: clients, series that nobody else sees, and a clean-up."""

    spec: Spec
    url: str
    #: A client that tests share; see :meth:`connect` for one of the test's own.
    client: Any
    #: The unique beginning of every prefix, database name and table name of this test.
    namespace: str = field(default_factory=lambda: f"k{uuid.uuid4().hex[:12]}")
    _clients: list[Any] = field(default_factory=list)
    _databases: set[str] = field(default_factory=set)
    _used: bool = False

    @property
    def name(self) -> str:
        """Return the key in ``BACKENDS``."""
        return self.spec.name

    @property
    def kind(self) -> Kind:
        """Return which of the three backend classes serves it."""
        return self.spec.kind

    @property
    def threads(self) -> bool:
        """Tell whether other threads see what this one writes."""
        return self.spec.threads

    @property
    def processes(self) -> bool:
        """Tell whether other processes see what this one writes."""
        return self.spec.processes

    def connect(self) -> Any:
        """Return a new client, which shares nothing with others and is closed after the test."""
        client = self.spec.connect(self.url)
        self._clients.append(client)
        return client

    def location(self, type: str = "series", space: str = "") -> str:
        """Return where :meth:`make` puts the series of a type.

        :param type: the type of the series. Each type has a location of its own, as series of
            different types must not share Redis keys or a Mongo database.
        :param space: tells locations of the same type apart, in a test that needs several.
        :returns: the prefix of the Redis keys (without ':'), the name of the Mongo database, or the
            name of the SQL table.
        """
        self._used = True
        location = "_".join(part for part in (self.namespace, space, type) if part)
        if self.kind == "mongo":
            self._databases.add(location)
        return location

    def make(
        self,
        type: str = "series",
        intervals: Any = INTERVALS,
        *,
        client: Any = None,
        space: str = "",
        **options: Any,
    ) -> kairos.Timeseries:
        """Return a series at a location of this test's own; the same arguments give the same data.

        :param intervals: as for ``kairos.Timeseries``; None leaves them out.
        :param client: a client to use instead of the shared one.
        :param space: see :meth:`location`.
        :param options: for ``kairos.Timeseries``. On Redis a ``prefix`` is put after the test's own.
        """
        import kairos

        location = self.location(type, space)
        target = self.client if client is None else client
        if self.kind == "redis":
            options["prefix"] = f"{location}:{options.get('prefix', '')}"
        elif self.kind == "mongo":
            target = target[location]
        else:
            options.setdefault("table_name", location)
        if intervals is not None:
            options["intervals"] = intervals
        return kairos.Timeseries(target, type=type, **options)

    # -- clean-up

    def close(self) -> None:
        """Remove what the test has stored, and close the clients that it has opened.

        :raises AssertionError: when the test has left connections in use.
        """
        try:
            if self._used:
                getattr(self, f"_clean_{self.kind}")()
        finally:
            while self._clients:
                _close(self.kind, self._clients.pop())

    def _clean_redis(self) -> None:
        client = self.client
        pipeline = client.pipeline(transaction=False)
        for key in client.scan_iter(match=f"{self.namespace}*", count=1000):
            pipeline.unlink(key)
        pipeline.execute()

    def _clean_mongo(self) -> None:
        for database in self._databases:
            self.client.drop_database(database)

    def _clean_sql(self) -> None:
        import sqlalchemy

        count = getattr(self.client.pool, "checkedout", int)  # not every pool counts
        if count():
            gc.collect()  # half of an iteration may be left to it on purpose
        assert not count(), f"{count()} connections of the pool are still in use after the test"
        if not self.spec.shared:
            return  # a database of the test's own goes as a whole
        with self.client.begin() as connection:
            # A lock that the test still holds shows as an error, not as an endless wait.
            timeout = {
                "mysql": "lock_wait_timeout = 10",
                "mariadb": "lock_wait_timeout = 10",
                "postgresql": "LOCAL lock_timeout = '10s'",
            }[connection.dialect.name]
            connection.execute(sqlalchemy.text(f"SET {timeout}"))
            quote = connection.dialect.identifier_preparer.quote
            for table in sqlalchemy.inspect(connection).get_table_names():
                if self.namespace in table:
                    connection.execute(sqlalchemy.text(f"DROP TABLE {quote(table)}"))


class Sharing:
    """The clients that the tests of a session share, one for each backend."""

    def __init__(self, servers: Servers) -> None:
        """Open nothing."""
        self._servers = servers
        self._stack = contextlib.ExitStack()
        self._clients: dict[str, tuple[Spec, str, Any]] = {}
        self._unavailable: dict[str, BaseException] = {}

    @contextlib.contextmanager
    def lend(self, spec: Spec) -> Iterator[Backend]:
        """Lend a backend to one test."""
        if spec.shared:
            with contextlib.closing(Backend(*self._open(spec))) as backend:
                yield backend
            return
        with contextlib.ExitStack() as stack:
            url = spec.url(self._servers, stack)
            client = spec.connect(url)
            stack.callback(_close, spec.kind, client)
            yield stack.enter_context(contextlib.closing(Backend(spec, url, client)))

    def _open(self, spec: Spec) -> tuple[Spec, str, Any]:
        if spec.name in self._unavailable:
            # What was tried before would be tried in vain for every test.
            raise self._unavailable[spec.name].with_traceback(None)
        if spec.name not in self._clients:
            try:
                url = spec.url(self._servers, self._stack)
            except (ServerFailed, pytest.skip.Exception, pytest.fail.Exception) as error:
                self._unavailable[spec.name] = error
                raise
            client = spec.connect(url)
            self._stack.callback(_close, spec.kind, client)
            self._clients[spec.name] = (spec, url, client)
        return self._clients[spec.name]

    def close(self) -> None:
        """Close the shared clients."""
        self._stack.close()
