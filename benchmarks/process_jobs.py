"""What takes a process of its own: the time that importing takes, and the memory that a stream takes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import kairos

from . import workload
from .harness import Contender, Job, Sample, Target

if TYPE_CHECKING:
    from .bench import Bench

_ROOT: Final = Path(__file__).resolve().parent.parent

#: Years of minutes that are iterated over.
_YEARS: Final = 10


class Process:
    """Measure what a new interpreter takes from its start to its end.

    :param cache: where the interpreter keeps compiled modules, as it does for those that are installed.
    """

    single = False

    def __init__(self, code: str, cache: Path) -> None:
        self._command = [sys.executable, "-c", code]
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def prepare(self, turn: int) -> None:
        """Do nothing."""

    def measure(self, times: int) -> Sample:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.perf_counter()
        for _ in range(times):
            subprocess.run(self._command, check=True, cwd=_ROOT, env=self._environment)
        wall = time.perf_counter() - wall
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Sample(wall / times, cpu / times)


class Report:
    """Take the megabytes that a process prints of itself.

    :param task: a function of this module, which the process runs.
    """

    single = True

    def __init__(self, task: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "benchmarks.process_jobs", task, *arguments]

    def prepare(self, turn: int) -> None:
        """Do nothing."""

    def measure(self, times: int) -> Sample:
        done = subprocess.run(
            self._command, check=True, cwd=_ROOT, stdout=subprocess.PIPE, text=True
        )
        figure = float(done.stdout)
        return Sample(figure, figure)


# --- in the process of its own ---------------------------------------------------------------------------


def _peak() -> float:
    """Return the most memory that this process has had, in MB."""
    try:
        # The other way to ask counts what the parent had at the fork, too.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _open(url: str, prefix: str, intervals: Any) -> Any:
    options: dict[str, Any] = (
        {"prefix": prefix} if url.startswith("redis") else {"table_name": prefix}
    )
    return kairos.Timeseries(url, type="count", intervals=intervals, **options)


def stream(url: str, prefix: str, values: str) -> float:
    """Import a stream of values, and return the peak of memory."""
    series = _open(url, prefix, {"hour": workload.READ_INTERVALS["hour"]})
    series.bulk_insert(workload.stream("count", 10, int(values)))
    total = sum(
        value for name in series.list() for _, value in series.iterate(name, "hour", condense=True)
    )
    expected = sum(value for _, _, value in workload.stream("count", 10, int(values)))
    assert total == expected, f"{total} is stored of {expected}"
    series.delete_all()
    return _peak()


def iterate(url: str, prefix: str, years: str) -> float:
    """Iterate over years of minutes with a value at either end, and return the growth of memory."""
    series = _open(url, prefix, {"minute": {"step": 60}})
    minutes = int(float(years) * 365 * 1440)
    last = workload.START + minutes * 60
    series.bulk_insert({workload.START: {"a": [1]}, last: {"a": [1]}})
    rows = series.iterate("a", "minute")
    for _ in range(5000):
        next(rows)
    settled = _peak()
    left = sum(1 for _ in rows)
    assert left == minutes + 1 - 5000, f"{left} buckets were left"
    series.delete_all()
    return _peak() - settled


def refuse(url: str, prefix: str) -> float:
    """Ask for a range of a million buckets, and return the growth of memory until it is refused."""
    series = _open(url, prefix, {"second": {"step": 1}})
    settled = _peak()
    try:
        series.series("a", "second", start=workload.START, end=workload.START + 999_999)
    except kairos.exceptions.TooManyBuckets:
        return _peak() - settled
    raise AssertionError("a range of a million buckets was read")


# --- jobs ------------------------------------------------------------------------------------------------


def _import(bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    cache = bench.folder / "compiled"
    bare, ours = Process("pass", cache), Process("import kairos", cache)

    class Beyond:
        """Take what importing costs beyond the start of the interpreter."""

        single = False

        def prepare(self, turn: int) -> None:
            """Do nothing."""

        def measure(self, times: int) -> Sample:
            without, with_it = bare.measure(times), ours.measure(times)
            return Sample(with_it.wall - without.wall, with_it.cpu - without.cpu)

    yield Contender("kairos", "import kairos, beyond the interpreter's start", "kairos", Beyond())
    yield Contender("python", "the start of the interpreter", "reference", bare)
    for driver in ("redis", "pymongo", "sqlalchemy"):
        importing = Process(f"import {driver}", cache)
        yield Contender(driver, f"the interpreter, and import {driver}", "reference", importing)


def _url(store: str, bench: Bench) -> str:
    return bench.redis if store == "redis" else bench.sql(store)


def _memory(
    store: str, task: str, arguments: Sequence[str], bench: Bench, stack: ExitStack
) -> Iterator[Contender]:
    name = f"{bench.token}_{task}"
    given = [str(bench.values) if each == "VALUES" else each for each in arguments]
    runner = Report(task, _url(store, bench), name, *given)
    doc = globals()[task].__doc__.partition(",")[0]
    yield Contender("kairos", doc, "kairos", runner)


def _jobs() -> Iterator[Job]:
    yield Job("process/import", "ms", _import, (Target("itself", 30.0, "cpu"),))
    for store in ("sqlite", "redis"):
        yield Job(
            f"{store}/memory/stream",
            "MB at the peak of a streamed import",
            partial(_memory, store, "stream", ["VALUES"]),
            (Target("itself", 100.0),),
            once=True,
        )
        yield Job(
            f"{store}/memory/iterate",
            "MB more, over ten years of minutes",
            partial(_memory, store, "iterate", [str(_YEARS)]),
            (Target("itself", 5.0),),
            once=True,
        )
        yield Job(
            f"{store}/memory/refuse",
            "MB more, to refuse a million buckets",
            partial(_memory, store, "refuse", []),
            (Target("itself", 5.0),),
            once=True,
        )


JOBS = tuple(_jobs())

if __name__ == "__main__":
    print(globals()[sys.argv[1]](*sys.argv[2:]))
