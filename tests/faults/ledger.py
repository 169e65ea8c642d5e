"""Writers that keep books, and the judgement of what lies in the store afterwards."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kairos import UnknownOutcome

from ..support.servers import RedisServer

#: Far more retention than a test takes, so that nothing expires, and every key must have an expiry.
KEPT = {
    "hour": {"step": "1h", "steps": 48},
    "day": {"step": "1d", "resolution": "1h", "steps": 30},
}
#: How long a value that could not be written is delivered again before the test gives up, in seconds.
PATIENCE = 60.0


@dataclass
class Ledger:
    """What writers were told of their values, each a whole number of its own."""

    acknowledged: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    def write(self, insert: Callable[[int], None], value: int) -> None:
        """Write a value once and book the answer."""
        try:
            insert(value)
        except UnknownOutcome:
            self.unknown.add(value)
        except Exception:  # noqa: BLE001 - whatever the driver says, it must mean: not applied
            self.refused.add(value)
        else:
            self.acknowledged.add(value)

    def deliver(self, insert: Callable[[int], None], value: int) -> None:
        """Write a value, under an id, again and again until the answer is that it is there."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                insert(value)
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                self.acknowledged.add(value)
                return

    def judge(self, row: Any) -> None:
        """Check the values of one interval: none lost, none doubled, none that was refused."""
        found = Counter(int(value) for value in row)
        doubled = {value for value, times in found.items() if times > 1}
        assert not doubled, f"doubled: {sorted(doubled)[:10]}"
        lost = self.acknowledged - found.keys()
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} lost: {sorted(lost)[:10]}"
        odd = found.keys() - self.acknowledged - self.unknown
        assert not odd, f"refused, and yet there: {sorted(odd)[:10]}"


def all_values(series: Any, name: str, interval: str) -> list[Any]:
    """Return every value that lies in an interval, through retries while a server comes back."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            rows = dict(series.iterate(name, interval, condense=True))
            return [value for row in rows.values() for value in row]
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def judge_everywhere(ledger: Ledger, series: Any, name: str, *, whole: bool = True) -> None:
    """Judge every interval, and that each insert is in all of them or in none.

    :param whole: whether the store promises the latter.
    """
    rows = {interval: all_values(series, name, interval) for interval in KEPT}
    for row in rows.values():
        ledger.judge(row)
    if whole:
        one, other = (set(map(int, row)) for row in rows.values())
        assert one == other


def has_replicated(master: RedisServer) -> bool:
    """Tell whether every replica of a Redis server has all that was written to it."""
    replication = master.info("INFO", "replication")
    offsets = re.findall(r"offset=(\d+)", str(replication))
    return bool(offsets) and set(offsets) == {replication["master_repl_offset"]}


def in_threads(work: Callable[[int, threading.Event], None], threads: int) -> Callable[[], None]:
    """Run work(number, stop) in threads, and return what stops them and raises their errors."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number, stop)
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()

    def finish() -> None:
        stop.set()
        for thread in running:
            thread.join()
        if errors:
            raise errors[0]

    return finish
