"""The proxy that breaks connections, in front of a server that answers in upper case."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ..support.proxy import FaultProxy
from ..support.servers import HOST, poll


class EchoServer:
    """A server that answers each line with the same line in upper case, and remembers what came."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""
        self.hung_up = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                self.heard += line
                if line.endswith(b"\n"):
                    connection.sendall(line.upper())
        self.hung_up += 1

    def stop_listening(self) -> None:
        with contextlib.suppress(OSError):  # it has stopped before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Client:
    """A client that sends a line and waits for the answer."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.create_connection((HOST, proxy.port), timeout=5)
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def ask(self, line: bytes) -> bytes:
        """Return the answer, as far as it comes; b'' when the connection is closed instead."""
        try:
            self.socket.sendall(line)
            return self._stream.readline()
        except ConnectionError:
            return b""


@pytest.fixture
def server() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.stop_listening()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, server.port) as proxy:
        yield proxy


def test_passes_everything_on_and_counts_it(proxy: FaultProxy) -> None:
    with Client(proxy) as client:
        assert client.ask(b"one\n") == b"ONE\n"
        assert client.ask(b"x" * 300_000 + b"\n") == b"X" * 300_000 + b"\n"
    with Client(proxy) as client:
        assert client.ask(b"two\n") == b"TWO\n"
    assert proxy.connections == 2
    assert proxy.bytes_sent == proxy.bytes_received == 300_009
    assert proxy.strikes == 0
    poll(lambda: proxy.open_connections == 0, "the connections to be closed")


def test_counts_round_trips(proxy: FaultProxy) -> None:
    with Client(proxy) as client:
        client.ask(b"one\n")
        client.ask(b"two\n")
        client.socket.sendall(b"three\nfour\n")
        assert client.ask(b"") == b"THREE\n"
    assert proxy.turns == 3


def test_refuses_new_connections_and_closes_old_ones_until_told_otherwise(
    proxy: FaultProxy,
) -> None:
    with Client(proxy) as client:
        assert client.ask(b"one\n") == b"ONE\n"
        proxy.refuse()
        assert client.ask(b"two\n") == b""
    with pytest.raises(ConnectionRefusedError):
        Client(proxy)
    proxy.pass_on()
    with Client(proxy) as client:
        assert client.ask(b"three\n") == b"THREE\n"


def test_delays_replies_until_told_otherwise(proxy: FaultProxy) -> None:
    proxy.delay(0.2)
    with Client(proxy) as client:
        start = time.monotonic()
        assert client.ask(b"one\n") == b"ONE\n"
        assert 0.2 <= time.monotonic() - start < 2
        proxy.delay(60)
        threading.Timer(0.1, proxy.pass_on).start()
        assert client.ask(b"two\n") == b"TWO\n"
        assert time.monotonic() - start < 5


def test_drops_the_reply_of_what_the_server_has_got(proxy: FaultProxy, server: EchoServer) -> None:
    proxy.drop_replies(1)
    with Client(proxy) as client:
        assert client.ask(b"one\n") == b""
    assert server.heard == b"one\n"
    assert proxy.strikes == 1
    with Client(proxy) as client:
        assert client.ask(b"two\n") == b"TWO\n"
    assert proxy.strikes == 1


def test_drops_every_reply(proxy: FaultProxy, server: EchoServer) -> None:
    proxy.drop_replies()
    for _ in range(3):
        with Client(proxy) as client:
            assert client.ask(b"one\n") == b""
    assert server.heard == b"one\n" * 3
    assert proxy.strikes == 3


def test_drops_only_replies_of_requests_that_match(proxy: FaultProxy, server: EchoServer) -> None:
    proxy.drop_replies(1, match=b"write")
    with Client(proxy) as client:
        assert client.ask(b"hello\n") == b"HELLO\n"
        client.socket.sendall(b"please wr")
        poll(lambda: proxy.bytes_sent == 15, "the proxy to have read the first half")
        assert client.ask(b"ite\n") == b""
    assert server.heard == b"hello\nplease write\n"


def test_cuts_a_reply(proxy: FaultProxy, server: EchoServer) -> None:
    proxy.cut_reply(3, 1, match=b"write")
    with Client(proxy) as client:
        assert client.ask(b"hello\n") == b"HELLO\n"
        assert client.ask(b"write\n") == b"WRI"
    assert server.heard == b"hello\nwrite\n"
    with Client(proxy) as client:
        assert client.ask(b"write\n") == b"WRITE\n"


def test_cuts_a_request(proxy: FaultProxy, server: EchoServer) -> None:
    proxy.cut_request(3, 1, match=b"write")
    with Client(proxy) as client:
        assert client.ask(b"hello\n") == b"HELLO\n"
        assert client.ask(b"write\n") == b""
    poll(lambda: server.hung_up == 1, "the server to see the end")
    assert server.heard == b"hello\nwri"


def test_a_black_hole_takes_everything_and_answers_nothing(
    proxy: FaultProxy, server: EchoServer
) -> None:
    with Client(proxy) as old:
        assert old.ask(b"one\n") == b"ONE\n"
        proxy.blackhole()
        with Client(proxy) as new:
            for client in (old, new):
                client.socket.sendall(b"two\n")
                client.socket.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.socket.recv(100)
                client.socket.settimeout(5)
            assert server.heard == b"one\n"
            proxy.pass_on()
            # What they have sent is lost, so they are not used again.
            assert old.socket.recv(100) == b""
            assert new.socket.recv(100) == b""
    with Client(proxy) as client:
        assert client.ask(b"four\n") == b"FOUR\n"


def test_closes_connections_on_demand(proxy: FaultProxy) -> None:
    with Client(proxy) as client:
        client.ask(b"one\n")
        proxy.disconnect()
        assert client.ask(b"two\n") == b""


def test_closes_the_client_when_the_server_is_gone(proxy: FaultProxy, server: EchoServer) -> None:
    server.stop_listening()
    with Client(proxy) as client:
        assert client.ask(b"one\n") == b""


def test_stands_in_the_url() -> None:
    with FaultProxy.before("postgresql+psycopg://me:secret@127.0.0.1:5432/test?a=b") as proxy:
        assert proxy.url == f"postgresql+psycopg://me:secret@127.0.0.1:{proxy.port}/test?a=b"
        assert proxy.target == ("127.0.0.1", 5432)
    with pytest.raises(ValueError, match="names no host and port"):
        FaultProxy.before("sqlite://")
