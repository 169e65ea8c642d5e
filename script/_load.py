"""Write a load into a store, and keep a journal that tells afterwards what must be there.

Every writer is a thread with a journal of its own: a file that says what is about to be written before
it is, and what came of it after. Lines that were handed to the system survive the death of their
process, so a journal that ends without an outcome tells of a writer that died in mid-write.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from _common import explain, kind_of, open_series

from kairos import Timeseries, UnknownOutcome

TYPES: Final = ("series", "histogram", "count", "gauge", "set")

#: Both have buckets of a minute, once as intervals and once as resolutions; nothing expires meanwhile.
INTERVALS: Final = {
    "minute": {"step": 60, "steps": 1440},
    "hour": {"step": "1h", "steps": 48, "resolution": "1min"},
}

#: Writes fall into the last minutes, so that every kind of bucket gets many.
SPREAD: Final = 600

#: Seconds for which a delivery is repeated once there is no more new work.
GRACE: Final = 60.0

#: What came of a write: it was acknowledged, its answer was lost, or the driver refused it.
ACKNOWLEDGED, UNKNOWN, REFUSED = "+", "?", "-"
#: What is counted while the work goes on, for each writer.
COUNTERS: Final = ("acknowledged", "unknown", "refused", "repeated")


class Entry(NamedTuple):
    """One value for one name of one type; it never has a blank in its name."""

    type: str
    name: str
    timestamp: int
    value: int


@dataclass(frozen=True)
class Job:
    """Say what a process of writers is to do; it is handed from process to process.

    :ivar run: begins every name, so that runs keep out of each other's way.
    :ivar rate: calls per second and writer, 0 for as many as it takes.
    :ivar bulk: values per call; with 1 they are inserted, with 0 it is mixed work of both kinds, half of
        it under ids.
    """

    url: str
    types: Sequence[str]
    run: str
    names: int
    threads: int
    rate: float
    bulk: int
    seed: int
    journals: Path


def open_all(url: str, types: Sequence[str]) -> dict[str, Timeseries]:
    """Return a series of each type; all runs share their places in the store."""
    options: dict[str, Any] = {"value_type": "int64"} if kind_of(url) == "sql" else {}
    opened = {}
    for kind in types:
        # Redis returns text, and histograms have text for keys in MongoDB.
        options["read_func"] = None if kind == "count" else int
        place = f"kairos-integration-{kind}"
        opened[kind] = open_series(url, place, type=kind, intervals=INTERVALS, **options)
    return opened


class Writer:
    """Make up writes, try them, and keep the journal of it.

    :param number: differs from that of every other writer of the run.
    :param over: tells that no new work is wanted.
    :param count: adds to one of the counters.
    """

    def __init__(
        self,
        job: Job,
        number: int,
        series: dict[str, Timeseries],
        over: Callable[[], bool],
        count: Callable[[int, int], None],
    ) -> None:
        self._job = job
        self._number = number
        self._series = series
        self._over = over
        self._count = count
        self._chance = random.Random(f"{job.seed}/{number}")
        self._sequence = itertools.count()
        self._journal = os.open(
            job.journals / str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )

    def run(self) -> None:
        """Write until it is over."""
        job = self._job
        due = time.monotonic()
        for call in itertools.count():
            if self._over():
                break
            self._write(self._entries(job.types[call % len(job.types)]))
            if job.rate:
                due += 1 / job.rate
                time.sleep(max(0.0, due - time.monotonic()))
        os.close(self._journal)

    def _entries(self, kind: str) -> list[Entry]:
        """Make up the values of one call."""
        size = self._job.bulk or self._chance.choice((1, 1, 1, 2, 5, 20))
        return [self._entry(kind, next(self._sequence)) for _ in range(size)]

    def _entry(self, kind: str, number: int) -> Entry:
        name = f"{self._job.run}.{self._chance.randrange(self._job.names)}"
        value = self._number * 10**9 + number
        if kind == "gauge":
            # Only one writer can tell which of its values was the last.
            name += f".{self._number}"
        elif kind == "histogram":
            value = number % 7
        elif kind == "count":
            value = 1
        return Entry(kind, name, int(time.time()) - self._chance.randrange(SPREAD), value)

    def _write(self, entries: list[Entry]) -> None:
        """Make one call, and repeat it under the same ids until it succeeds if it has ids."""
        named = not self._job.bulk and self._chance.random() < 0.5
        ids = [f"{self._number}-{entry.value}-{next(self._sequence)}" for entry in entries]
        lines = [" ".join(map(str, entry)) for entry in entries]
        self._note("\n".join(lines))
        give_up = 0.0
        while True:
            outcome, error = self._attempt(entries, ids if named else [])
            if error is None or not named:
                break
            if self._over():
                give_up = give_up or time.monotonic() + GRACE
                if time.monotonic() > give_up:
                    break
            self._count(COUNTERS.index("repeated"), 1)
            time.sleep(0.05)
        self._note(f"{outcome} {error or ''}")
        self._count((ACKNOWLEDGED, UNKNOWN, REFUSED).index(outcome), len(entries))
        if error is not None:
            time.sleep(0.02)  # a server that is down is not asked without a pause

    def _attempt(self, entries: list[Entry], ids: list[str]) -> tuple[str, str | None]:
        """Make one call and return what came of it, with the error's name."""
        try:
            self._call(entries, ids)
        except UnknownOutcome as error:
            return UNKNOWN, type(error).__name__
        except Exception as error:
            if explain(error) is None or type(error).__module__.startswith("kairos"):
                raise
            return REFUSED, type(error).__name__
        return ACKNOWLEDGED, None

    def _call(self, entries: list[Entry], ids: list[str]) -> None:
        series: Any = self._series[entries[0].type]
        if len(entries) > 1:
            rows = [(entry.timestamp, entry.name, entry.value) for entry in entries]
            if ids:
                rows = [(*row, id) for row, id in zip(rows, ids, strict=True)]  # type: ignore[misc]
            series.bulk_insert(iter(rows))
        else:
            entry = entries[0]
            id = ids[0] if ids else None
            series.insert(entry.name, entry.value, timestamp=entry.timestamp, id=id)

    def _note(self, text: str) -> None:
        os.write(self._journal, f"{text}\n".encode())


def work(job: Job, first: int, until: Any, ready: Any, counters: Any, slot: int) -> None:
    """Run the writers of one process.

    What is shared has no lock, since a process that is killed would take that along.

    :param first: the number of its first writer.
    :param until: the shared Unix time at which new work ends, 0 as long as it must not begin.
    :param ready: shared memory with a place for every process, not 0 once it waits for the beginning.
    :param counters: shared memory with room for the counters of every writer, all 0.
    :param slot: which of those places is this process's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops everybody
    # SQLAlchemy prints a traceback for each connection that it cannot close in good order.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    parent = os.getppid()
    series = open_all(job.url, job.types)

    def over() -> bool:
        return time.time() >= until.value or os.getppid() != parent

    def write(thread: int) -> None:
        base = (slot * job.threads + thread) * len(COUNTERS)

        def count(counter: int, number: int) -> None:
            counters[base + counter] += number

        Writer(job, first + thread, series, over, count).run()

    ready[slot] = 1
    while not until.value and os.getppid() == parent:
        time.sleep(0.01)
    with ThreadPoolExecutor(job.threads) as pool:
        for _ in pool.map(write, range(job.threads)):
            pass


def read_journal(path: Path) -> Iterator[tuple[Entry, str, str]]:
    """Yield (entry, outcome, name of the error or '') in the order of the writes.

    What has no outcome was being written when its process died; it counts as unknown.
    """
    pending: list[Entry] = []
    with path.open(encoding="ascii") as lines:
        for line in lines:
            first, _, rest = line.rstrip("\n").partition(" ")
            if first in (ACKNOWLEDGED, UNKNOWN, REFUSED):
                for entry in pending:
                    yield entry, first, rest
                pending = []
            else:
                name, timestamp, value = rest.split()
                pending.append(Entry(first, name, int(timestamp), int(value)))
    for entry in pending:
        yield entry, UNKNOWN, "killed"
