"""Count round trips where nobody can argue about them: on the wire.

A relay passes on what a client sends once the client has been silent for a moment. A client is silent
when it waits for an answer, so each burst is one round trip, in however many pieces it was sent and
however early the server began to answer.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

#: Seconds of silence that end a burst; a system may hold an acknowledgement back for 0.04.
_SILENCE: Final = 0.05
_CHUNK: Final = 1 << 20


class Relay:
    """Stand before a server for as long as this is open.

    :ivar bursts: round trips, of all connections.
    :ivar sent: the bytes that clients have sent since :meth:`reset`.
    """

    def __init__(self, url: str, port: int) -> None:
        """Listen on a port of this machine.

        :param port: of the server, where the URL has none.
        """
        self._parts = urlsplit(url)
        self._server = self._parts.hostname or "127.0.0.1", self._parts.port or port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.reset()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return the server's URL, by way of the relay."""
        login, at, _ = self._parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        return self._parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()

    def reset(self) -> None:
        """Start to count."""
        self.bursts = 0
        self.sent = b""

    def close(self) -> None:
        """Close all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._reply, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while burst := client.recv(_CHUNK):
                while select.select([client], [], [], _SILENCE)[0]:
                    more = client.recv(_CHUNK)
                    if not more:
                        return
                    burst += more
                self.bursts += 1
                self.sent += burst
                server.sendall(burst)

    @staticmethod
    def _reply(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                client.sendall(data)


def counted(relay: Relay, operation: Callable[[], object], times: int = 3) -> tuple[int, bytes]:
    """Return the round trips of an operation and the bytes that it sent.

    :param times: it is run, after a first time that may have to set things up. On a busy machine a client
        may pause in the middle of a burst; so the smallest number counts.
    """
    operation()
    found: list[tuple[int, Any]] = []
    for _ in range(times):
        relay.reset()
        operation()
        found.append((relay.bursts, relay.sent))
    return min(found, key=lambda each: each[0])
