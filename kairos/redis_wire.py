"""The wire to Redis: packed commands over the connections of the caller's own client.

redis-py 6 and later repeat, by themselves, a command whose reply was lost; that counts an increment twice.
Here it is said for every exchange whether it may be repeated. Using the pool of the client keeps its
reconnects, TLS, authentication and Sentinel discovery, and packing commands oneself costs a third of what
the command methods of the client cost.
"""

from __future__ import annotations

import inspect
import os
import time
from binascii import crc_hqx
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakValueDictionary

from .exceptions import InvalidValue, UnknownOutcome, UnsupportedClient, unknown_outcome
from .registry import hide_password


def _pack_slowly(command: Sequence[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in command]
    return b"".join(parts)


pack: Callable[[Any], bytes]
try:
    pack = import_module("hiredis").pack_command
except (ImportError, AttributeError):  # hiredis is strongly recommended, but not needed
    pack = _pack_slowly

#: The arguments of a command, encoded.
Command = tuple[bytes, ...]

#: One exchange carries at most so many commands, and so many bytes of requests (or one command).
_COMMANDS: Final = 20_000
_BYTES: Final = 4 << 20
#: A command is redirected, or waits for a cluster to settle, at most so often, with growing pauses.
_ATTEMPTS: Final = 12
_PAUSE: Final = 0.05

_SLOTS: Final = 16384

#: From so many connections on, a pool can spare one.
_LARGE_POOL: Final = 32
#: A pool whose connections are all in use is asked again after a pause, for so long, in seconds.
_POOL_TIMEOUT: Final = 20.0
_POOL_PAUSE: Final = 0.002


class _Never(Exception):
    """Stand for an error that a client does not have."""



class Server:
    """Exchange packed commands with one server, or with whatever a Sentinel says is the master."""

    def __init__(self, client: Any, package: Any) -> None:
        errors = package.exceptions
        self.client = client
        self.lost = (errors.ConnectionError, errors.TimeoutError)
        self._refused = errors.ResponseError
        # Older clients have no error of its own for it, and no limit either unless they are given one.
        self._exhausted: type[Exception] = getattr(errors, "MaxConnectionsError", _Never)
        parameter = inspect.signature(client.connection_pool.get_connection).parameters.get(
            "command_name"
        )
        # redis-py 5 and valkey want the name of a command, which they never use; redis-py 8 warns of it.
        self._named = ("_",) if parameter and parameter.default is parameter.empty else ()
        # A pool that blocks, follows a Sentinel or is small must see each connection come back at once.
        pool = client.connection_pool
        self._keeps = (
            type(pool) is package.connection.ConnectionPool and pool.max_connections >= _LARGE_POOL
        )
        self._kept: list[tuple[Any, float]] = []
        self._pid = os.getpid()

    def servers(self) -> list[Server]:
        """Return every server that holds keys of its own."""
        return [self]

    def execute(
        self, commands: Sequence[Command], keys: Sequence[bytes], repeatable: bool
    ) -> list[Any]:
        """Send commands and return one reply for each, in order; refusals are replies too.

        :param keys: the key of each command; it finds the node on a cluster.
        :param repeatable: whether the client's own retries may send a command again.
        :raises UnknownOutcome: when commands that must not be repeated were sent and the connection
            failed. A connection that fails earlier raises the driver's own error.
        """
        if len(commands) == 1:
            return self.exchange(pack(commands[0]), 1, repeatable)
        replies: list[Any] = []
        for packed, count in _exchanges(commands):
            replies += self.exchange(packed, count, repeatable)
        return replies

    def exchange(self, packed: bytes, count: int, repeatable: bool) -> list[Any]:
        """Send what was packed at once, and return its replies."""
        client = self.client
        if client.connection is not None:
            # A client with single_connection_client=True; some versions have no lock for it.
            with getattr(client, "single_connection_lock", None) or nullcontext():
                client.connection.connect()
                return self._exchange(client.connection, packed, count, repeatable)
        connection, since = self._take()
        keep = False
        try:
            replies = self._exchange(connection, packed, count, repeatable)
            keep = self._keeps and not self._kept
        finally:
            if keep:
                self._kept.append((connection, since))
            else:
                client.connection_pool.release(connection)
        return replies

    def _take(self) -> tuple[Any, float]:
        """Return a connection that is known to be alive, and when it was taken out of the pool.

        Taking a connection out of the pool and putting it back costs as much as packing a command, so one
        is kept for the next exchange. It goes back after a second, since the pool renews credentials then.
        """
        now = time.monotonic()
        try:
            connection, since = self._kept.pop()
        except IndexError:
            return self._from_pool(), now
        if self._pid != os.getpid():
            # Of the process that this one was forked from; the pool notices by itself.
            self._pid = os.getpid()
            return self._from_pool(), now
        try:
            alive = now - since < 1 and not connection.can_read()
        except self.lost:
            alive = False
        if alive:
            return connection, since
        if now - since < 1:
            connection.disconnect()
        self.client.connection_pool.release(connection)
        return self._from_pool(), now

    def _from_pool(self) -> Any:
        """Return a connection of the pool; where all are in use, wait for one for a while.

        By default a pool of redis-py 8 has 100 connections, and raises from the 101st greenlet on.
        """
        pool = self.client.connection_pool
        end = time.monotonic() + _POOL_TIMEOUT
        while True:
            try:
                return pool.get_connection(*self._named)
            except self._exhausted:
                if time.monotonic() > end:
                    raise
                time.sleep(_POOL_PAUSE)

    def __del__(self) -> None:
        if self._pid == os.getpid():
            for connection, _ in self._kept:
                self.client.connection_pool.release(connection)

    def _exchange(self, connection: Any, packed: bytes, count: int, repeatable: bool) -> list[Any]:
        if repeatable:
            replies: list[Any] = connection.retry.call_with_retry(
                lambda: self._once(connection, packed, count),
                lambda error: connection.disconnect(),
            )
            return replies
        # A health check may fail too, but nothing of ours has been sent yet.
        connection.check_health()
        try:
            return self._once(connection, packed, count)
        except self.lost as error:
            raise unknown_outcome(error, "a write to Redis") from error

    def _once(self, connection: Any, packed: bytes, count: int) -> list[Any]:
        replies: list[Any] = []
        try:
            connection.send_packed_command((packed,), check_health=False)
            read = connection.read_response
            for _ in range(count):
                try:
                    replies.append(read(disable_decoding=True))
                except self._refused as error:
                    replies.append(error)
        except BaseException:
            # An interrupt or a greenlet's timeout too: the replies still to come are nobody's.
            connection.disconnect()
            raise
        return replies


class Cluster:
    """Exchange packed commands with the nodes of a Redis Cluster."""

    def __init__(self, client: Any, package: Any) -> None:
        errors = package.exceptions
        self._client = client
        self._package = package
        self._servers: dict[int, Server] = {}
        self._moved = (errors.AskError, errors.MovedError)
        self._ask_error = errors.AskError
        self._waiting = (errors.TryAgainError, errors.ClusterDownError)
        # Named after the package: RedisClusterException, ValkeyClusterException.
        self._unreachable = (
            getattr(errors, f"{package.__name__.capitalize()}ClusterException"),
            errors.ConnectionError,
            errors.TimeoutError,
        )

    def _server(self, node: Any) -> Server:
        # Named after the package too: get_redis_connection, get_valkey_connection.
        client = getattr(self._client, f"get_{self._package.__name__}_connection")(node)
        server = self._servers.get(id(client))
        if server is None or server.client is not client:
            server = self._servers[id(client)] = Server(client, self._package)
        return server

    def servers(self) -> list[Server]:
        """Return every server that holds keys of its own."""
        return [self._server(node) for node in self._client.get_primaries()]

    def execute(
        self, commands: Sequence[Command], keys: Sequence[bytes], repeatable: bool
    ) -> list[Any]:
        """Send commands to the nodes that own their keys; see :meth:`Server.execute`.

        A redirection, or a connection that fails before anything was sent, proves that a command was not
        executed. Such commands are sent again, once the cluster has been asked who owns what; others never
        are, unless they are repeatable.
        """
        replies: list[Any] = [None] * len(commands)
        pending: Sequence[int] = range(len(commands))
        failure: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE * (attempt - 1))
                self._refresh()
            pending, failure = self._attempt(commands, keys, pending, replies, repeatable)
            if not pending:
                return replies
        if failure is not None:
            raise failure
        return replies

    def _attempt(
        self,
        commands: Sequence[Command],
        keys: Sequence[bytes],
        pending: Sequence[int],
        replies: list[Any],
        repeatable: bool,
    ) -> tuple[list[int], Exception | None]:
        """Send what is pending, fill in the replies, and return what has to be sent again, and why."""
        again: list[int] = []
        failure: Exception | None = None
        try:
            nodes = list(self._by_node(pending, keys))
        except self._unreachable as error:
            return list(pending), error
        for server, indexes in nodes:
            answers: list[Any] = []
            try:
                for packed, count in _exchanges([commands[index] for index in indexes]):
                    answers += server.exchange(packed, count, repeatable)
            except UnknownOutcome:
                raise
            except self._unreachable as error:
                failure = error
            # What comes after the exchange that failed was never sent.
            again += indexes[len(answers) :]
            for index, answer in zip(indexes, answers, strict=False):
                if type(answer) is self._ask_error:
                    answer = self._ask(answer, commands[index], repeatable)
                replies[index] = answer
                if isinstance(answer, self._moved + self._waiting):
                    again.append(index)
        # Commands for one key keep their order.
        return sorted(again), failure

    def _by_node(
        self, indexes: Sequence[int], keys: Sequence[bytes]
    ) -> Iterator[tuple[Server, list[int]]]:
        """Yield each node's server with the commands that go there, in their order."""
        owners: dict[int, Any] = {}
        nodes: dict[int, tuple[Any, list[int]]] = {}
        for index in indexes:
            slot = slot_of(keys[index])
            node = owners.get(slot)
            if node is None:
                node = owners[slot] = self._client.get_node_from_key(keys[index])
            nodes.setdefault(id(node), (node, []))[1].append(index)
        for node, its in nodes.values():
            yield self._server(node), its

    def _ask(self, redirection: Any, command: Command, repeatable: bool) -> Any:
        """Send one command to the node that its slot is moving to."""
        node = self._client.get_node(host=redirection.host, port=redirection.port)
        if node is None:
            return redirection
        return self._server(node).exchange(pack((b"ASKING",)) + pack(command), 2, repeatable)[1]

    def _refresh(self) -> None:
        """Ask the cluster anew who owns what; where nobody answers, the next attempt tells."""
        with suppress(*self._unreachable):
            self._client.nodes_manager.initialize()


class Wire(Protocol):
    """Say what :class:`Server` and :class:`Cluster` have in common."""

    def servers(self) -> list[Server]: ...

    def execute(
        self, commands: Sequence[Command], keys: Sequence[bytes], repeatable: bool
    ) -> list[Any]: ...


def _exchanges(commands: Sequence[Command]) -> Iterator[tuple[bytes, int]]:
    """Yield packed commands in parts of bounded size, with their number."""
    for at in range(0, len(commands), _COMMANDS):
        parts: list[bytes] = []
        size = 0
        for packed in map(pack, commands[at : at + _COMMANDS]):
            size += len(packed)
            if size > _BYTES and parts:
                yield b"".join(parts), len(parts)
                parts, size = [], len(packed)
            parts.append(packed)
        yield b"".join(parts), len(parts)


def slot_of(key: bytes) -> int:
    """Return the hash slot of a key: of what stands in its first braces, if anything does."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % _SLOTS


_tags: dict[int, bytes] = {}


def tag_of(slot: int) -> bytes:
    """Return a hash tag for a slot, so that a key of ours can be made to live beside another."""
    if len(_tags) < _SLOTS:
        number = 0
        found: dict[int, bytes] = {}
        while len(found) < _SLOTS:
            tag = b"%d" % number
            found.setdefault(crc_hqx(tag, 0) % _SLOTS, tag)
            number += 1
        _tags.update(found)
    return _tags[slot]


# --- clients -----------------------------------------------------------------------------------------


def is_cluster(client: Any) -> bool:
    """Tell whether a client routes its commands to the nodes of a cluster."""
    return hasattr(client, "get_node_from_key")


def check_client(client: Any) -> Any:
    """Return a client if it is a synchronous one.

    :raises UnsupportedClient: for asyncio clients, pipelines, pools and the like.
    """
    asynchronous = any(".asyncio" in kind.__module__ for kind in type(client).__mro__)
    known = is_cluster(client) or hasattr(client, "connection_pool")
    if asynchronous or not known or hasattr(client, "command_stack"):
        raise UnsupportedClient(
            f"a {type(client).__module__}.{type(client).__qualname__} is not supported: give kairos a "
            "redis.Redis, a redis.RedisCluster, what master_for() of a Sentinel returns, or valkey's own"
        )
    return client


def wire_of(client: Any) -> Wire:
    """Return the wire that fits a client of redis or valkey."""
    tops = [kind.__module__.partition(".")[0] for kind in type(client).__mro__]
    package = import_module("valkey" if "valkey" in tops else "redis")
    if is_cluster(client):
        return Cluster(client, package)
    server = _SERVERS.get(id(client))
    if server is None or server.client is not client:
        server = _SERVERS[id(client)] = Server(client, package)
    return server


#: The wire of each client, by its id, while any series uses it.
_SERVERS: Final[WeakValueDictionary[int, Server]] = WeakValueDictionary()


def connect(url: str, config: dict[str, Any]) -> Any:
    """Return a client for a URL.

    ``redis://``, ``rediss://``, ``unix://`` and ``valkey://`` are those of the drivers. Behind
    ``redis+cluster://`` and ``redis+sentinel://`` stands a list ``host:port,host:port``; for Sentinel the
    path is ``/service`` or ``/service/database``, and ``sentinel_username``, ``sentinel_password`` are
    taken from the query.

    :param config: keyword arguments for the client.
    """
    scheme, _, rest = url.partition("://")
    base, _, topology = scheme.lower().partition("+")
    secure = base in ("rediss", "valkeys")
    package = _driver(base)
    name = package.__name__
    try:
        if not topology:
            own = base if base == "unix" else name + "s" * secure
            return getattr(package, name.capitalize()).from_url(f"{own}://{rest}", **config)
        parts = urlsplit("//" + rest)
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        # urlsplit would take a list of hosts for one with a bad port.
        hosts = [_address(each) for each in parts.netloc.rpartition("@")[2].split(",")]
        if parts.username:
            options["username"] = unquote(parts.username)
        if parts.password:
            options["password"] = unquote(parts.password)
        if secure:
            options["ssl"] = True
        if topology == "cluster":
            nodes = [package.cluster.ClusterNode(host, port or 6379) for host, port in hosts]
            cluster = getattr(package, f"{name.capitalize()}Cluster")
            return cluster(startup_nodes=nodes, **{**options, **config})
        service, _, database = parts.path.strip("/").partition("/")
        if not service:
            raise ValueError("the path must name the service, as in /mymaster or /mymaster/0")
        own_options = {
            key: options.pop(f"sentinel_{key}")
            for key in ("username", "password")
            if f"sentinel_{key}" in options
        }
        sentinels = [(host, port or 26379) for host, port in hosts]
        sentinel = package.sentinel.Sentinel(sentinels, sentinel_kwargs=own_options or None)
        return sentinel.master_for(service, **{"db": int(database or 0), **options, **config})
    except ValueError as error:
        raise InvalidValue(f"URL {hide_password(url)!r}: {error}") from error


def _address(text: str) -> tuple[str, int | None]:
    parts = urlsplit("//" + text)
    if not parts.hostname:
        raise ValueError(f"{text!r} is not host:port")
    return parts.hostname, parts.port


def _driver(base: str) -> Any:
    """Return the package for a scheme; either driver talks to either server."""
    wanted = "valkey" if base.startswith("valkey") else "redis"
    if wanted == "valkey":
        try:
            return import_module(wanted)
        except ImportError:
            pass
    return import_module("redis")
