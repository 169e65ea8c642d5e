"""A backend as a third party would write it: series in the memory of the process.

It is complete, and short on purpose, so that it can be read as an example. A distribution that brings such
a backend names it in an entry point, whose name is the top-level module of the clients or the scheme of
the URLs that it serves::

    setup(..., entry_points={"kairos.backends": ["memory = package.memory_backend:MemoryBackend"]})

An application calls ``kairos.register_backend("memory", "package.memory_backend:MemoryBackend")`` instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from kairos import Backend, Count, Gauge, Histogram, Series, Set
from kairos.exceptions import InvalidType, InvalidValue
from kairos.intervals import Interval, check_name
from kairos.pipeline import Group, ReadPlan, Rows


class Bucket(NamedTuple):
    """What one bucket of an interval holds: rows by resolution, and the time at which it expires."""

    rows: Mapping[int | None, Any]
    expires: float | None


class Memory:
    """Hold the buckets of any number of series; this is the client."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: (type, prefixed name, interval) -> bucket -> what it holds
        self.tables: dict[tuple[str, str, str], dict[int, Bucket]] = {}
        #: key of an event -> the time until which it is remembered
        self.claims: dict[str, float] = {}

    #: Every URL names a memory, for as long as the process lives.
    named: ClassVar[dict[str, Memory]] = {}


class MemoryBackend(Backend):
    """Keep series in the memory of the process.

    Options: ``prefix`` of all names.

    All writes of one call are applied at once. ``count`` and ``rate`` of series and sets are answered
    without the rows. ``fetch(memory, name, interval, bucket)`` returns ``{resolution bucket or None: row}``.
    """

    @classmethod
    def _connect(cls, url: str, config: dict[str, Any]) -> Memory:
        return Memory.named.setdefault(url, Memory(**config))

    @classmethod
    def _accept(cls, client: Any) -> Memory:
        if not isinstance(client, Memory):
            raise InvalidType(f"a series in memory needs a Memory, not {client!r}")
        return client

    def _setup(self, **options: Any) -> None:
        """Take the options that ``_options`` lists; there are none."""

    # --- writing -----------------------------------------------------------------------------------------

    def _encode(self, value: Any) -> Any:
        if value is None or not isinstance(value, Hashable):
            raise InvalidValue(f"value {value!r} cannot be stored: only hashable ones, and not None")
        return value

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        now, merge = time.time(), self._algebra.merge
        with self._client.lock:
            for event, writes in groups:
                if event is not None:
                    if self._client.claims.get(event.key, now) > now:
                        continue
                    self._client.claims[event.key] = now + event.remember
                for name, target, delta, ttl, _ in writes:
                    key = self._type, self._prefix + name, target.interval.interval
                    table = self._client.tables.setdefault(key, {})
                    rows = dict(self._live(table).get(target.i_bucket, ()))
                    before = rows.get(target.r_bucket, self._algebra.empty())
                    rows[target.r_bucket] = merge([before, delta])
                    table[target.i_bucket] = Bucket(rows, None if ttl is None else now + ttl)

    # --- reading -----------------------------------------------------------------------------------------

    def _live(self, table: Mapping[int, Bucket]) -> dict[int, Mapping[int | None, Any]]:
        now = time.time()
        return {
            bucket: rows
            for bucket, (rows, expires) in table.items()
            if expires is None or expires > now
        }

    def _fetch(self, plan: ReadPlan) -> Rows:
        rows: Rows = {}
        interval = plan.interval.interval
        for name in plan.names:
            live = self._tables(name).get((name, interval), {})
            for bucket in plan.buckets:
                if plan.fetch is not None:
                    found = plan.fetch(self._client, self._prefix + name, interval, bucket)
                else:
                    found = live.get(bucket)
                if found and plan.partials:
                    found = {r_bucket: {"count": len(row)} for r_bucket, row in found.items()}
                    if plan.condense:
                        found = {None: {"count": sum(row["count"] for row in found.values())}}
                if found:
                    rows.setdefault(name, {})[bucket] = found
        return rows

    def _where(self, name: str, interval: Interval, i_bucket: int, r_bucket: int | None) -> str:
        return f"{self._type} {self._prefix}{name!r}, {interval.interval} {i_bucket}/{r_bucket}"

    def _process_row(self, raw: Any) -> Any:
        return raw if self._read_func is None else self._read_func(raw)

    def _each(self, values: Any) -> list[Any]:
        return list(values) if self._read_func is None else list(map(self._read_func, values))

    # --- housekeeping ------------------------------------------------------------------------------------

    def _tables(
        self, wanted: str | None = None
    ) -> dict[tuple[str, str], dict[int, Mapping[int | None, Any]]]:
        """Return the live buckets of this series by (name, interval), perhaps of one name only."""
        with self._client.lock:
            return {
                (name.removeprefix(self._prefix), interval): self._live(table)
                for (kind, name, interval), table in self._client.tables.items()
                if kind == self._type
                and name.startswith(self._prefix)
                and (wanted is None or name == self._prefix + wanted)
                and (not self._intervals or interval in self._intervals)
            }

    def list(self) -> list[str]:
        """Return the names that hold data in this series, sorted."""
        return sorted({name for (name, _), table in self._tables().items() if table})

    def _first_last(self, name: str) -> Mapping[str, tuple[int, int]]:
        return {
            interval: (min(table), max(table))
            for (_, interval), table in self._tables(name).items()
            if table
        }

    def delete(self, name: str) -> int:
        """Delete exactly this name, in all intervals; return how many buckets went."""
        return self._delete(self._tables(check_name(name, "name")))

    def delete_all(self) -> int:
        """Delete every name of this series and the ids of its events; return how many buckets went."""
        with self._client.lock:
            for key in [key for key in self._client.claims if key.startswith(self._series_key())]:
                del self._client.claims[key]
        return self._delete(self._tables())

    def _delete(self, tables: Mapping[tuple[str, str], Mapping[int, Any]]) -> int:
        with self._client.lock:
            for name, interval in tables:
                self._client.tables.pop((self._type, self._prefix + name, interval), None)
        return sum(map(len, tables.values()))


class MemorySeries(MemoryBackend, Series):
    """Keep each bucket as a list."""

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        return frozenset({"count"})

    def _process_row(self, raw: Any) -> Any:
        return self._each(raw)


class MemoryHistogram(MemoryBackend, Histogram):
    """Keep each bucket as a dict of values to numbers."""

    def _process_row(self, raw: Any) -> Any:
        counted = zip(self._each(raw), raw.values(), strict=True)
        return self._algebra.merge({value: count} for value, count in counted)


class MemoryCount(MemoryBackend, Count):
    """Keep each bucket as a number."""


class MemoryGauge(MemoryBackend, Gauge):
    """Keep each bucket as the value itself."""


class MemorySet(MemoryBackend, Set):
    """Keep each bucket as a set."""

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        # The members of two sets may be the same.
        return frozenset() if merging else frozenset({"count"})

    def _process_row(self, raw: Any) -> Any:
        return set(self._each(raw))
