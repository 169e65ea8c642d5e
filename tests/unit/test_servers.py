"""The servers of the tests: found, started, killed, and ended with the tests, however these end."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.backends import Servers
from ..support.servers import (
    HOST,
    RedisServer,
    Server,
    ServerFailed,
    ServerMissing,
    free_port,
    has_ended,
    poll,
)

ROOT = Path(__file__).parents[2]

#: Starts a server, tells of it, and waits to be killed.
OWNER = """
from tests.support.servers import RedisServer
server = RedisServer().start()
print(server.pid, server.port, server.directory, flush=True)
input()
"""


class Missing(RedisServer):
    """A server whose program is not installed."""

    programs = ("kairos-no-such-program",)
    package = "Debian's nowhere"


def refuses(port: int) -> bool:
    """Tell whether nobody listens on a port."""
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == errno.ECONNREFUSED


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(ServerMissing, match="kairos-no-such-program .* Debian's nowhere") as caught:
        Missing().start()
    assert caught.value.program == "kairos-no-such-program"
    assert caught.value.package == "Debian's nowhere"


def test_a_server_that_ends_at_once_shows_its_log(launch: Callable[[Server], Server]) -> None:
    with pytest.raises(ServerFailed, match="no-such-setting"):
        launch(RedisServer("--no-such-setting", "1"))


def test_data_outlives_the_server(launch: Callable[[RedisServer], RedisServer]) -> None:
    server = launch(RedisServer("--appendonly", "yes", "--appendfsync", "always"))
    before = server.pid
    server.call("SET", "key", "value")
    server.kill()
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        server.call("PING")
    server.start()
    assert server.pid != before
    assert server.call("GET", "key") == "value"
    server.restart()
    assert server.call("GET", "key") == "value"


def test_a_paused_server_keeps_its_connections(
    launch: Callable[[RedisServer], RedisServer],
) -> None:
    server = launch(RedisServer())
    with socket.create_connection((HOST, server.port), timeout=0.1) as connection:
        server.pause()
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        server.resume()
        connection.settimeout(5)
        assert connection.recv(100) == b"+PONG\r\n"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_servers_end_with_their_owner(ending: signal.Signals) -> None:
    try:
        RedisServer().program()
    except ServerMissing as error:
        pytest.skip(str(error))
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid, port, directory = owner.stdout.readline().split()
        assert Path(directory).is_dir()
        owner.send_signal(ending)
        # A signal that comes right before a read does not interrupt it; the end of the stream does.
        owner.communicate()
    poll(lambda: not Path(directory).exists(), "the directory to be removed", within=10)
    poll(lambda: has_ended(int(pid)), "the server's end", within=10)
    poll(lambda: refuses(int(port)), "the server's port to be closed", within=10)


def test_a_forked_child_leaves_the_servers_alone(
    launch: Callable[[RedisServer], RedisServer],
) -> None:
    server = launch(RedisServer())
    code = """
import os, sys
from tests.support.servers import RedisServer
server = RedisServer().start()
if os.fork() == 0:
    sys.exit()  # runs the child's atexit functions
os.wait()
assert server.call("PING") == "PONG"
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert server.call("PING") == "PONG"


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(20)]
    code = "from tests.support.servers import free_port\nprint(*[free_port() for _ in range(20)])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert len({*ports, *map(int, done.stdout.split())}) == 40


def test_without_a_server_tests_are_skipped_and_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Servers()) as servers:
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception, match="kairos-no-such-program"):
            servers.start(Missing)
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="kairos-no-such-program"):
            servers.start(Missing)


def test_a_server_that_the_environment_promises_must_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("KAIROS_TEST_REDIS", f"redis://{HOST}:{free_port()}/0")
    with pytest.raises(pytest.fail.Exception, match="KAIROS_TEST_REDIS=.* does not answer"):
        _ = Servers().redis


def test_a_server_that_the_environment_names_is_used(
    monkeypatch: pytest.MonkeyPatch, launch: Callable[[RedisServer], RedisServer]
) -> None:
    server = launch(RedisServer())
    monkeypatch.setenv("KAIROS_TEST_REDIS", server.url)
    assert Servers().redis == server.url
