"""Processes that write and are killed in the middle: whole inserts, and no key without an expiry."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from ..support.backends import Backend
from .ledger import KEPT, all_values

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: Writes numbers for ever, one by one and in bulk, and prints each that was acknowledged.
WRITER = """
import sys, time
import kairos
from tests.support.backends import connect
from tests.faults.ledger import KEPT
name, url, place, first = sys.argv[1:]
client = connect(name, url)
options = {"redis": {"prefix": place}, "mongo": {}, "sql": {"table_name": place, "value_type": int}}
kind = "redis" if "redis" in url else "mongo" if "mongo" in url else "sql"
target = client[place] if kind == "mongo" else client
series = kairos.Timeseries(target, intervals=KEPT, **options[kind])
value = int(first)
print("ready", flush=True)
while True:
    value += 1
    series.insert("a", value)
    print(value, flush=True)
"""


@pytest.mark.backends("=redis", "redis-cluster", "=mongo", "sqlite", "postgresql", "mariadb")
def test_a_writer_that_is_killed(backend: Backend) -> None:
    place = backend.location("series")
    acknowledged: set[int] = set()
    for round_ in range(3):
        command = [sys.executable, "-c", WRITER, backend.name, backend.url, place]
        writer = subprocess.Popen(
            [*command, str(round_ * 1_000_000)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.25)
        writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().splitlines()
        writer.stdout.close()
        writer.wait()
        acknowledged.update(int(line) for line in lines if line)
    options: dict[str, Any] = {"value_type": int} if backend.kind == "sql" else {"read_func": int}
    series = backend.make("series", KEPT, **options)
    rows = {interval: all_values(series, "a", interval) for interval in KEPT}
    for row in rows.values():
        assert len(row) == len(set(row))
        assert acknowledged <= set(row)
        assert len(set(row) - acknowledged) <= 3, "more than what was in flight"
    if backend.name not in ("mongo", "redis-cluster"):
        assert len({frozenset(row) for row in rows.values()}) == 1
    if backend.kind == "redis":
        keys = list(backend.client.scan_iter(match=f"{place}*"))
        assert keys
        assert [key for key in keys if backend.client.ttl(key) < 0] == []
    if backend.kind == "mongo":
        for interval in KEPT:
            assert backend.client[place][interval].count_documents({"expire_from": None}) == 0
