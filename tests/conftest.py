"""Fixtures and options of the test suite.

A test that takes the fixture ``backend`` runs on every backend in ``BACKENDS``. The mark
``backends`` narrows that to kinds or names: ``@pytest.mark.backends("redis")`` means every Redis,
``@pytest.mark.backends("sqlite", "mongo")`` SQLite and every MongoDB, ``"=redis"`` the one of that name
and no other Redis. On the command line, ``--backend NAME`` does the same for a run.

Tests with the mark ``faults`` start, kill and starve servers of their own; they run with
``--faults``, or when they are asked for by path or by ``-m``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from .support.backends import BACKENDS, Backend, Servers, Sharing, Spec, give_up
from .support.proxy import FaultProxy
from .support.servers import Group, Server, ServerMissing

# A deadline measures the machine, and the fixture ``backend`` keeps its data on purpose.
settings.register_profile(
    "kairos",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("kairos")

#: The names of the backends on which tests have run.
_TESTED = pytest.StashKey[set[str]]()

Startable = TypeVar("Startable", Server, Group)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this suite."""
    group = parser.getgroup("kairos")
    group.addoption(
        "--backend",
        action="append",
        metavar="NAME",
        help=f"run on this backend only, of those that are there (repeatable): {', '.join(BACKENDS)}",
    )
    group.addoption(
        "--faults",
        action="store_true",
        help="run the tests that kill and starve servers of their own, too",
    )
    group.addoption(
        "--every-backend",
        action="store_true",
        help="fail unless tests have run on every single backend",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``backend`` on all backends that its mark and the command line leave."""
    if "backend" not in metafunc.fixturenames:
        return
    chosen: list[str] | None = metafunc.config.getoption("--backend")
    for name in chosen or ():
        if name not in BACKENDS:
            raise pytest.UsageError(f"--backend {name}: there are {', '.join(BACKENDS)}")
    wanted: set[str] = set()
    for mark in metafunc.definition.iter_markers("backends"):
        wanted.update(mark.args)
    params = []
    for name, param in BACKENDS.items():
        spec: Spec = param.values[0]
        if (not wanted or wanted & {spec.kind, name, f"={name}"}) and (
            not chosen or name in chosen
        ):
            params.append(param)
    metafunc.parametrize("backend", params, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of faults unless they are asked for in some way."""
    asked = [*config.invocation_params.args, config.getoption("markexpr")]
    if config.getoption("--faults") or any("faults" in str(word) for word in asked):
        return
    left_out = [item for item in items if item.get_closest_marker("faults")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("faults")]


def _find_untested(config: pytest.Config) -> list[str]:
    """Return the backends that had to be tested and were not."""
    if not config.getoption("--every-backend"):
        return []
    return [name for name in BACKENDS if name not in config.stash.get(_TESTED, ())]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when a backend was promised and not tested."""
    if exitstatus == pytest.ExitCode.OK and _find_untested(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the backends that were promised and not tested."""
    for name in _find_untested(config):
        terminalreporter.write_line(f"ERROR no test has run on {name}", red=True)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Return the servers of the session, which start when their URL is first read."""
    with contextlib.closing(Servers()) as servers:
        yield servers


@pytest.fixture(scope="session")
def _sharing(servers: Servers) -> Iterator[Sharing]:
    with contextlib.closing(Sharing(servers)) as sharing:
        yield sharing


@pytest.fixture
def backend(request: pytest.FixtureRequest, _sharing: Sharing) -> Iterator[Backend]:
    """Return the handle of one backend after the other."""
    with _sharing.lend(request.param) as backend:
        request.config.stash.setdefault(_TESTED, set()).add(backend.name)
        yield backend


@pytest.fixture
def launch() -> Iterator[Callable[[Startable], Startable]]:
    """Return a function that starts a server for one test and closes it afterwards.

    ``server = launch(RedisServer("--maxmemory", "2mb"))``
    """
    with contextlib.ExitStack() as stack:

        def launch(server: Startable) -> Startable:
            stack.callback(server.close)
            try:
                server.start()
            except ServerMissing as error:
                give_up(error)
            return server

        yield launch


@pytest.fixture
def proxied() -> Iterator[Callable[[str], FaultProxy]]:
    """Return a function that puts a proxy in front of the server of a URL, for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda url: stack.enter_context(FaultProxy.before(url))
