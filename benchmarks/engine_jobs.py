"""The engine alone: what kairos computes before and after it talks to a store."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from kairos import Backend, Count, Series
from kairos.intervals import Interval
from kairos.pipeline import Group, ReadPlan, Rows

from . import workload
from .harness import Contender, Job, Target, local, times_faster
from .original import Remote

if TYPE_CHECKING:
    from .bench import Bench


class NullBackend(Backend):
    """Store nothing, and answer with the rows that it was made with."""

    @classmethod
    def _accept(cls, client: Any) -> Any:
        return client

    def _setup(self, **options: Any) -> None:
        """Take no options."""

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        """Write nothing."""

    def _fetch(self, plan: ReadPlan) -> Rows:
        rows: Rows = self._client
        return rows

    def _encode(self, value: Any) -> Any:
        return value

    def _where(self, name: str, interval: Interval, i_bucket: int, r_bucket: int | None) -> str:
        return f"{name}:{interval.interval}:{i_bucket}:{r_bucket}"

    def _first_last(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {}


class NullSeries(NullBackend, Series):
    """Read rows as they are."""

    def _process_row(self, raw: Any) -> Any:
        return raw


class NullCount(NullBackend, Count):
    """Read rows as they are."""

    def _process_row(self, raw: Any) -> Any:
        return raw


class _Day:
    """Remember the current day's name, as anyone would who looked at a profile."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self.bucket = ""

    def of(self, now: int) -> str:
        if not self.start <= now < self.end:
            self.start = now - now % 86400
            self.end = self.start + 86400
            self.bucket = time.strftime("%Y%m%d", time.gmtime(now))
        return self.bucket


def _plan(bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    series: Any = NullCount({}, intervals=workload.INTERVALS)

    def plan() -> object:
        now = int(time.time())
        return series._place(workload.NAME, 1, now, now, 0)

    day = _Day()

    def by_hand() -> object:
        now = int(time.time())
        minute, hour, name = now // 60, now // 3600, workload.NAME
        return (
            (f"{name}:minute:{minute}", 7200),
            (f"{name}:hour:{hour}", 172800),
            (f"{name}:hour:{hour}:{minute}", 172800),
            (daily := f"{name}:daily:{day.of(now)}", None),
            (f"{daily}:{hour}", None),
        )

    what = "the clock, and the buckets and expiries of a value that has been checked"
    yield Contender("kairos", what, "kairos", local(plan))
    what = "the clock, keys and expiries, for these three intervals only"
    yield Contender("inlined", what, "reference", local(by_hand))
    yield from _original(bench)


def _insert(bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    series = NullCount({}, intervals=workload.INTERVALS)
    insert = partial(series.insert, workload.NAME)
    yield Contender("kairos", "insert() into a store that does nothing", "kairos", local(insert))
    yield from _original(bench)


def _original(bench: Bench) -> Iterator[Contender]:
    """Yield the original's insert, which cannot be taken apart from outside."""
    if bench.original:
        bench.original.open("engine", "redis://127.0.0.1:1", "count", workload.INTERVALS)
        remote = Remote(bench.original, key="engine", call="queue", name=workload.NAME, value=1)
        what = "the original's insert() into a pipeline that does nothing"
        yield Contender("original", what, "original", remote)


def _bulk(names: int, bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    series = NullCount({}, intervals=workload.INTERVALS)
    inserts = workload.bulk("count", names)

    def by_hand() -> object:
        minutes: dict[tuple[str, int], int] = {}
        for moment, entries in inserts.items():
            minute = int(moment) // 60
            for name, values in entries.items():
                place = name, minute
                minutes[place] = minutes.get(place, 0) + sum(values)
        hours: dict[tuple[str, int], int] = {}
        for (name, minute), total in minutes.items():
            place = name, minute // 60
            hours[place] = hours.get(place, 0) + total
        return minutes, hours

    bulk = partial(series.bulk_insert, inserts)
    what = "bulk_insert() into a store that does nothing"
    yield Contender("kairos", what, "kairos", local(bulk), workload.BULK)
    what = "sums per minute and hour, for these intervals only"
    yield Contender("inlined", what, "reference", local(by_hand), workload.BULK)


def _read(bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    first = workload.START // 3600
    table = {
        hour: {hour * 60 + minute: [1.5] * workload.VALUES for minute in range(60)}
        for hour in range(first, first + workload.HOURS)
    }
    series = NullSeries({workload.NAME: table}, intervals=workload.READ_INTERVALS)
    read = partial(series.series, workload.NAME, "hour", start=workload.START, steps=workload.HOURS)

    def by_hand() -> object:
        return OrderedDict(
            (
                hour * 3600,
                OrderedDict((minute * 60, table[hour][minute]) for minute in sorted(table[hour])),
            )
            for hour in range(first, first + workload.HOURS)
        )

    yield Contender("kairos", "series() of rows in memory", "kairos", local(read), outcome=read)
    what = "the same mapping, built by hand"
    yield Contender("by hand", what, "reference", local(by_hand), outcome=by_hand)


JOBS = (
    Job("engine/plan", "µs per insert", _plan, (Target("itself", 2.0, "cpu"), times_faster(7))),
    Job("engine/insert", "µs per insert", _insert, (times_faster(7),)),
    Job("engine/bulk-deep", "µs per value", partial(_bulk, 1)),
    Job("engine/bulk-wide", "µs per value", partial(_bulk, workload.WIDE_NAMES)),
    Job("engine/read-2880x10", "ms per read", _read),
)
