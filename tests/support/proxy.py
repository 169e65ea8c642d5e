"""A TCP proxy that breaks connections in the ways that networks and dying servers do.

It stands between a client and one server and passes everything on until it is told otherwise::

    with FaultProxy.before("redis://127.0.0.1:6379/0") as proxy:
        client = redis.Redis.from_url(proxy.url)
        proxy.drop_replies(1, match=b"INCRBY")
        client.incrby("key", 1)  # the server executes it, and the client is never told

Each call that sets a mode replaces the one before; ``pass_on()`` ends all of them. Modes that strike
single requests or replies take ``count``, how many times they do (None: every time), and ``match``,
bytes that the request must contain: handshakes, health checks and heartbeats go through while a
certain command is lost. Servers that tell clients other addresses (cluster nodes, replica sets) must
be reached directly, or their clients leave the proxy behind.

Threads and plain sockets only: two threads for each connection.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from .servers import HOST, free_port, give_back_port

if TYPE_CHECKING:
    from typing_extensions import Self

Mode = Literal["pass", "refuse", "delay", "drop reply", "cut reply", "cut request", "blackhole"]

_CHUNK: Final = 1 << 16
#: A reply is complete when the server has sent nothing for so many seconds.
_QUIET: Final = 0.03


@dataclass
class _Rule:
    """A mode with its parameters."""

    mode: Mode = "pass"
    seconds: float = 0.0
    size: int = 0
    match: bytes = b""
    #: How many times it strikes yet; None for always.
    left: int | None = None
    #: Set when another rule has taken its place.
    over: threading.Event = field(default_factory=threading.Event)


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        #: The end of the last bytes of the client, as a match may lie across two chunks.
        self.tail = b""
        #: What happens to the next reply.
        self.sentence: _Rule | None = None
        #: Whether bytes have been lost, so that it must not be used again.
        self.spoilt = False
        self.client_spoke_last = False
        self.pumps_left = 2

    def close(self) -> None:
        """End both connections, which ends both pumps."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class FaultProxy:
    """A proxy in front of one server, on a port of its own that it keeps until it is closed."""

    def __init__(self, host: str, port: int) -> None:
        """Choose the server; :meth:`start` opens the port."""
        self.target = (host, port)
        self.port = free_port()
        self._target_url = f"tcp://{host}:{port}"
        self._rule = _Rule()
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._connections = self._strikes = self._turns = self._sent = self._received = 0

    @classmethod
    def before(cls, url: str) -> Self:
        """Return a proxy in front of the server that a URL names; the URL must name the port."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url!r} names no host and port")
        proxy = cls(parts.hostname, parts.port)
        proxy._target_url = url
        return proxy

    @property
    def url(self) -> str:
        """Return the URL of the server by way of the proxy."""
        parts = urlsplit(self._target_url)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}{HOST}:{self.port}").geturl()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what has happened

    @property
    def connections(self) -> int:
        """Return how many connections have been accepted."""
        return self._connections

    @property
    def open_connections(self) -> int:
        """Return how many connections are open."""
        return len(self._links)

    @property
    def bytes_sent(self) -> int:
        """Return how many bytes the clients have sent, passed on or not."""
        return self._sent

    @property
    def bytes_received(self) -> int:
        """Return how many bytes the server has sent, passed on or not."""
        return self._received

    @property
    def turns(self) -> int:
        """Return how often a client spoke after the server had: the number of round trips."""
        return self._turns

    @property
    def strikes(self) -> int:
        """Return how many requests and replies have been dropped or cut."""
        return self._strikes

    # -- modes

    def pass_on(self) -> None:
        """Pass everything on; connections that have lost bytes are closed."""
        self._set(_Rule())

    def refuse(self) -> None:
        """Refuse new connections and close those that are open, as when there is no server."""
        self._set(_Rule("refuse"))

    def delay(self, seconds: float) -> None:
        """Hold every chunk of a reply back for so long."""
        self._set(_Rule("delay", seconds=seconds))

    def drop_replies(self, count: int | None = None, match: bytes = b"") -> None:
        """Pass a request on, swallow the whole reply, and close the connection."""
        self._set(_Rule("drop reply", left=count, match=match))

    def cut_reply(self, size: int, count: int | None = None, match: bytes = b"") -> None:
        """Pass a request on and the first ``size`` bytes of the reply, and close the connection."""
        self._set(_Rule("cut reply", size=size, left=count, match=match))

    def cut_request(self, size: int, count: int | None = None, match: bytes = b"") -> None:
        """Pass the first ``size`` bytes of a request on, counted in the chunk that matches, and close."""
        self._set(_Rule("cut request", size=size, left=count, match=match))

    def blackhole(self) -> None:
        """Accept connections and bytes, pass none on and answer nothing."""
        self._set(_Rule("blackhole"))

    def disconnect(self) -> None:
        """Close all connections that are open now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def _set(self, rule: _Rule) -> None:
        before, self._rule = self._rule, rule
        before.over.set()
        if rule.mode == "refuse":
            self._stop_listening()
            self.disconnect()
        elif self._listener is None:
            self._listen()
        with self._lock:
            spoilt = [link for link in self._links if link.spoilt]
        for link in spoilt:
            link.close()

    def _strike(self, rule: _Rule) -> bool:
        """Use up one of the times that a rule strikes; False when it has none left."""
        with self._lock:
            if rule.left == 0:
                return False
            if rule.left is not None:
                rule.left -= 1
            self._strikes += 1
            return True

    # -- connections

    def start(self) -> Self:
        """Open the port."""
        self._listen()
        return self

    def close(self) -> None:
        """Close the port and all connections, and wait for the threads to end."""
        self._rule.over.set()
        self._stop_listening()
        self.disconnect()
        for thread in list(self._threads):
            thread.join()
        give_back_port(self.port)

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port), backlog=512)
        self._run(self._accept, self._listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
            listener.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            try:
                work(*arguments)
            finally:
                self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._run(self._connect, client, listener)

    def _connect(self, client: socket.socket, listener: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            client.close()  # the nearest to a refusal that is left after having accepted
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        with self._lock:
            self._connections += 1
            self._links.add(link)
            closed = listener is not self._listener
        if closed:
            link.close()  # the port was closed meanwhile
        self._run(self._pump, link, self._pump_requests)
        self._run(self._pump, link, self._pump_replies)

    def _pump(self, link: _Link, pump: Callable[[_Link], None]) -> None:
        """Run one direction of a link, and close the link when it has come to its end."""
        with contextlib.suppress(OSError):
            pump(link)
        link.close()
        with self._lock:
            link.pumps_left -= 1
            if link.pumps_left:
                return
            self._links.discard(link)
        link.client.close()
        link.server.close()

    def _pump_requests(self, link: _Link) -> None:
        while data := link.client.recv(_CHUNK):
            rule = self._rule
            with self._lock:
                self._sent += len(data)
                self._turns += not link.client_spoke_last
                link.client_spoke_last = True
            seen = link.tail + data
            link.tail = seen[-(len(rule.match) - 1) :] if len(rule.match) > 1 else b""
            matches = rule.match in seen
            if rule.mode == "blackhole" or link.spoilt:
                link.spoilt = True
                continue
            if rule.mode == "cut request" and matches and self._strike(rule):
                link.server.sendall(data[: rule.size])
                # Orderly, so that the server does get these bytes.
                link.server.shutdown(socket.SHUT_WR)
                return
            if rule.mode in ("drop reply", "cut reply") and matches and self._strike(rule):
                link.sentence = rule
            link.server.sendall(data)

    def _pump_replies(self, link: _Link) -> None:
        while data := link.server.recv(_CHUNK):
            rule = self._rule
            with self._lock:
                self._received += len(data)
                link.client_spoke_last = False
            if link.sentence is not None:
                self._end_in_reply(link, link.sentence, data)
                return
            if rule.mode == "delay":
                rule.over.wait(rule.seconds)
            if rule.mode == "blackhole" or link.spoilt:
                link.spoilt = True
                continue
            link.client.sendall(data)

    def _end_in_reply(self, link: _Link, sentence: _Rule, data: bytes) -> None:
        """Give the client of a reply what the sentence leaves of it, and let the server finish."""
        left = sentence.size if sentence.mode == "cut reply" else 0
        with selectors.DefaultSelector() as selector:
            selector.register(link.server, selectors.EVENT_READ)
            while data:
                link.client.sendall(data[:left])
                left -= min(left, len(data))
                data = link.server.recv(_CHUNK) if selector.select(_QUIET) else b""
                with self._lock:
                    self._received += len(data)
