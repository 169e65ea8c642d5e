"""Processes, threads and greenlets that write at once; forks; and nothing that leaks."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import kairos

from ..support.backends import Backend
from .ledger import KEPT

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

SERVERS = ("=redis", "redis-cluster", "=mongo", "mongo-replicaset", "sqlite", "postgresql", "mariadb")
TYPES = ("series", "histogram", "count", "gauge", "set")
#: Timestamps, so that all processes write to the same few buckets: an hour, and the one before it.
START = 1_362_484_800

#: Writes to every type from several threads (greenlets when they are patched).
WORKER = """
import sys
name, url, place, number, threads, rounds, patched = sys.argv[1:]
if patched == "1":
    from gevent import monkey
    monkey.patch_all()
import threading
import kairos
from tests.support.backends import connect
from tests.faults.test_processes import START, TYPES, write
client = connect(name, url)
failures = []
def work(thread):
    try:
        write(name, client, place, int(number), thread, int(rounds))
    except BaseException as error:
        failures.append(error)
        raise
workers = [threading.Thread(target=work, args=(thread,)) for thread in range(int(threads))]
for worker in workers: worker.start()
for worker in workers: worker.join()
if patched == "1":
    import gevent.monkey
    assert gevent.monkey.is_module_patched("socket")
sys.exit(bool(failures))
"""
INTERVALS = {"hour": {"step": "1h"}, "day": {"step": "daily", "resolution": "1h"}}


def open_series(name: str, client: Any, place: str, kind: str) -> Any:
    """Return a series at a place that several processes agree on."""
    where = f"{place}_{kind}"
    if "mongo" in name:
        return kairos.Timeseries(client[where], type=kind, intervals=INTERVALS, read_func=int)
    options: dict[str, Any] = {"prefix": where, "read_func": int}
    if "redis" not in name:
        options = {"table_name": where, "value_type": int}
    return kairos.Timeseries(client, type=kind, intervals=INTERVALS, **options)


def write(name: str, client: Any, place: str, process: int, thread: int, rounds: int) -> None:
    """Write what one thread of one process has to write: single values, a bulk, and an event of all."""
    for kind in TYPES:
        series = open_series(name, client, place, kind)
        for step in range(rounds):
            value = 1 if kind == "count" else (process * 100 + thread) * 1000 + step
            series.insert("a", value, timestamp=START + step)
            series.bulk_insert({START + 3600: {"a": [value], "b": [value]}})
            series.insert("event", 5, timestamp=START, id=f"event-{step}")


def check(name: str, client: Any, place: str, processes: int, threads: int, rounds: int) -> None:
    """Check every total, and that no bucket has two rows or documents."""
    values = {
        (process * 100 + thread) * 1000 + step
        for process in range(processes)
        for thread in range(threads)
        for step in range(rounds)
    }
    for kind in TYPES:
        series = open_series(name, client, place, kind)
        for interval, start in (("hour", START), ("hour", START + 3600), ("day", START)):
            twice = 2 if interval == "day" else 1
            for stat in ("a", "b") if start > START else ("a",):
                (row,) = series.get(stat, interval, timestamp=start, condense=True).values()
                if kind == "series":
                    assert sorted(row) == sorted([*values] * twice)
                elif kind == "histogram":
                    assert row == dict.fromkeys(values, twice)
                elif kind == "count":
                    assert row == len(values) * twice
                elif kind == "gauge":
                    assert row in values
                else:
                    assert row == values
        (event,) = series.get("event", "hour", timestamp=START).values()
        assert event == {
            "series": [5] * rounds,
            "histogram": {5: rounds},
            "count": 5 * rounds,
            "gauge": 5,
            "set": {5},
        }[kind]
        assert rows_of(name, client, place, kind) == []


def rows_of(name: str, client: Any, place: str, kind: str) -> Sequence[Any]:
    """Return the buckets that the store has two rows or documents for."""
    where = f"{place}_{kind}"
    if "mongo" in name:
        buckets = {"_id": {key: f"${key}" for key in ("name", "interval", "resolution")}}
        return [
            found
            for interval in INTERVALS
            for found in client[where][interval].aggregate(
                [{"$group": {**buckets, "n": {"$sum": 1}}}, {"$match": {"n": {"$gt": 1}}}]
            )
        ]
    if "redis" in name or kind == "series":
        return []
    import sqlalchemy

    more = ', "value"' if kind in ("histogram", "set") else ""
    quote = client.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, ("name", "interval", "i_time", "r_time")))
    more = f", {quote('value')}" if more else ""
    with client.connect() as connection:
        return connection.execute(  # type: ignore[no-any-return]
            sqlalchemy.text(
                f"SELECT {columns}{more} FROM {quote(where)} GROUP BY {columns}{more} HAVING COUNT(*) > 1"
            )
        ).all()


def run_workers(backend: Backend, processes: int, threads: int, rounds: int, patched: bool) -> str:
    place = backend.location("", "p")
    if backend.kind == "mongo":
        backend._databases.update(f"{place}_{kind}" for kind in TYPES)
    workers = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", WORKER, backend.name, backend.url, place),
                *map(str, (number, threads, rounds, int(patched))),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * processes, "\n".join(errors)
    return place


@pytest.mark.backends(*SERVERS)
def test_eight_processes_of_many_threads(backend: Backend) -> None:
    place = run_workers(backend, 8, 3, 3, patched=False)
    check(backend.name, backend.client, place, 8, 3, 3)


@pytest.mark.backends("=redis", "=mongo", "sqlite", "postgresql", "mariadb")
def test_hundreds_of_greenlets(backend: Backend) -> None:
    greenlets, rounds = (25, 1) if backend.name == "sqlite" else (200, 1)
    if backend.name in ("postgresql", "mariadb"):
        greenlets = 100
    place = run_workers(backend, 1, greenlets, rounds, patched=True)
    check(backend.name, backend.client, place, 1, greenlets, rounds)


@pytest.mark.backends("=redis", "redis-cluster", "=mongo", "sqlite", "postgresql", "mariadb")
def test_a_fork_in_the_middle(backend: Backend) -> None:
    """Parent and child go on with the same object, and neither reads the other's answers."""
    script = """
import os, sys, warnings
warnings.simplefilter("ignore")
from tests.support.backends import connect
from tests.faults.test_processes import open_series, START
name, url, place = sys.argv[1:]
series = open_series(name, connect(name, url), place, "series")
series.insert("a", 0, timestamp=START)
assert series.get("a", "hour", timestamp=START).popitem()[1] == [0]
child = os.fork()
base = 1000 if child else 2000
for step in range(50):
    series.insert("a", base + step, timestamp=START)
    row = series.get("a", "hour", timestamp=START).popitem()[1]
    assert base + step in row, row
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
row = series.get("a", "hour", timestamp=START).popitem()[1]
assert sorted(row) == [0, *range(1000, 1050), *range(2000, 2050)], row
"""
    place = backend.location("", "f")
    if backend.kind == "mongo":
        backend._databases.add(f"{place}_series")
    done = subprocess.run(
        [sys.executable, "-c", script, backend.name, backend.url, place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def in_use() -> tuple[int, int]:
    """Return how many file handles and threads this process has."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="handles are counted in /proc")
@pytest.mark.backends("=redis", "redis-cluster", "=mongo", "sqlite", "postgresql", "mariadb")
def test_nothing_leaks(backend: Backend) -> None:
    """After very many operations there are as many handles and threads as after a few."""
    operations = {"redis": 100_000, "sqlite": 10_000}.get(backend.name, 3_000)
    series = backend.make("count", KEPT)

    def work(times: int) -> None:
        for number in range(times):
            series.insert("a", 1)
            if number % 100 == 0:
                series.get("a", "day")
                series.series("a", "hour", steps=3)
                # Objects come and go as well.
                backend.make("count", KEPT).insert("a", 1)

    work(200)
    before = in_use()
    work(operations)
    after = in_use()
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 1
    total = operations + 200 + operations // 100 + 2
    (count,) = series.series("a", "day", steps=2, collapse=True).values()
    assert count == total
