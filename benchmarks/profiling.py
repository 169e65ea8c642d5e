"""Tell where the time of an operation goes, by looking at the stack once in a while."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import FrameType
from typing import Any, Final, NamedTuple

#: Seconds between two looks.
_INTERVAL: Final = 0.0005

#: Functions that wait for a store, or hand it bytes: what they call is written in C and has no frame.
_WAITING: Final = frozenset(
    {
        "_exchange_bytes",
        "_read_bytes",
        "_receive_data_on_socket",
        "_rows",
        "_write_bytes",
        "do_begin",
        "do_commit",
        "do_execute",
        "do_executemany",
        "do_rollback",
        "fetchall",
        "read_from_socket",
        "readinto",
        "receive_data",
        "recv_into",
        "send_packed_command",
        "sendall",
        "wait",
    }
)
#: Packages that are looked through: the frame that called them counts.
_OWN: Final = "benchmarks"

#: What the modules of kairos are to a reader.
_ENGINE: Final = frozenset({"timeseries", "pipeline", "intervals", "types", "exceptions"})


class Profile(NamedTuple):
    """Hold the shares of the time, the largest first.

    :ivar layers: of the engine, the backend, the client library and the store.
    :ivar functions: of the functions that took most.
    """

    layers: dict[str, float]
    functions: dict[str, float]


@contextmanager
def _looking(samples: list[tuple[str, str]]) -> Iterator[None]:
    def look(number: int, frame: FrameType | None) -> None:
        if frame is not None:
            samples.append((frame.f_code.co_filename, frame.f_code.co_name))

    before: Any = signal.signal(signal.SIGALRM, look)
    timer = signal.setitimer(signal.ITIMER_REAL, _INTERVAL, _INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        # A test runner's timeout, for one.
        signal.setitimer(signal.ITIMER_REAL, *timer)


def profile(operation: Callable[[], object], seconds: float) -> Profile:
    """Repeat an operation for so many seconds, and return where they went."""
    samples: list[tuple[str, str]] = []
    operation()
    end = time.perf_counter() + seconds
    with _looking(samples):
        while time.perf_counter() < end:
            operation()
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for file, function in samples:
        package, module = _place(file)
        if package == _OWN:
            continue
        layers[_layer(package, module, function)] += 1
        functions[f"{package}.{module}.{function}"] += 1
    total = sum(layers.values()) or 1
    return Profile(
        {layer: count / total for layer, count in layers.most_common()},
        {function: count / total for function, count in functions.most_common(8)},
    )


def _place(file: str) -> tuple[str, str]:
    """Return the top-level package and the module of a file."""
    parts = PurePath(file).with_suffix("").parts
    for marker in ("site-packages", f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        if marker in parts:
            parts = parts[len(parts) - parts[::-1].index(marker) :]
            return parts[0], parts[-1]
    for package in ("kairos", _OWN):
        if package in parts:
            return package, parts[-1]
    return parts[0], parts[-1]


def _layer(package: str, module: str, function: str) -> str:
    if function in _WAITING:
        return "store"
    if package == "kairos":
        return "engine" if module in _ENGINE else "backend"
    return "client library"
