"""A second, plain implementation of what a series is, to compare kairos with.

It keeps a log of all inserts and computes every answer from it, by ``datetime`` and loops. It shares no code
with kairos, knows no store and is slow, so what it says is easy to check by eye.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from math import floor
from typing import Any

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SUFFIXES = {
    "": 1,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "m": 2592000,
    "y": 31536000,
}
NOMINAL = {"daily": 86400, "weekly": 604800, "monthly": 2592000, "yearly": 31536000}

EMPTY: dict[str, Callable[[], Any]] = {
    "series": list,
    "histogram": dict,
    "count": int,
    "gauge": lambda: None,
    "set": set,
}


def moment(timestamp: float) -> datetime:
    """Return a Unix time as a datetime in UTC."""
    return EPOCH + timedelta(seconds=floor(timestamp))


def unix(when: datetime) -> int:
    """Return a datetime as a Unix time."""
    return int((when - EPOCH).total_seconds())


def parse(step: Any) -> int | str:
    """Return a step as seconds, or as the name of a Gregorian one."""
    if isinstance(step, int) or step in NOMINAL:
        return step
    digits = step.rstrip("".join(SUFFIXES))
    return int(digits) * SUFFIXES[step[len(digits) :]]


@cache
def start_of(step: int | str, timestamp: float) -> int:
    """Return the first second of the bucket that holds a timestamp."""
    if isinstance(step, int):
        return floor(timestamp) // step * step
    when = moment(timestamp).replace(hour=0, minute=0, second=0)
    if step == "weekly":
        sunday = when - timedelta(days=(when.weekday() + 1) % 7)
        return max(unix(sunday), unix(when.replace(month=1, day=1)))
    if step == "monthly":
        when = when.replace(day=1)
    elif step == "yearly":
        when = when.replace(month=1, day=1)
    return unix(when)


@cache
def end_of(step: int | str, start: int) -> int:
    """Return the first second after the bucket that starts at a second."""
    if isinstance(step, int):
        return start + step
    when = moment(start) + timedelta(days=1)
    while start_of(step, unix(when)) == start:
        when += timedelta(days=1)
    return unix(when)


def bucket_of(step: int | str, timestamp: float) -> int:
    """Return the number of the bucket that holds a timestamp."""
    if isinstance(step, int):
        return floor(timestamp) // step
    form = {"daily": "%Y%m%d", "weekly": "%Y%U", "monthly": "%Y%m", "yearly": "%Y"}[step]
    return int(moment(timestamp).strftime(form))


def shifted(step: int | str, timestamp: float, steps: int) -> int:
    """Return the first second of the step that is so many steps later."""
    if isinstance(step, int):
        return start_of(step, timestamp + steps * step)
    if step in ("daily", "weekly"):
        return start_of(step, timestamp + steps * NOMINAL[step])
    when = moment(start_of(step, timestamp))
    months = when.year * 12 + when.month - 1 + steps * (12 if step == "yearly" else 1)
    return unix(when.replace(year=months // 12, month=months % 12 + 1))


def merge(kind: str, rows: Sequence[Any]) -> Any:
    """Return what several rows of a type hold together, in their order."""
    if kind == "series":
        return [value for row in rows for value in row]
    if kind == "histogram":
        total: Counter[Any] = Counter()
        for row in rows:
            for value, count in row.items():
                total[value] += count
        return dict(total)
    if kind == "count":
        return sum(rows)
    if kind == "gauge":
        return rows[-1] if rows else None
    return {value for row in rows for value in row}


def add(kind: str, row: Any, value: Any) -> Any:
    """Return a row with one more value."""
    single = {"series": [value], "histogram": {value: 1}, "set": {value}}.get(kind, value)
    return merge(kind, [row, single])


def transform(kind: str, name: str, row: Any, seconds: int) -> Any:
    """Return what a named transform makes of a row that covers so many seconds."""
    if kind == "gauge" or (kind == "count" and name != "rate"):
        return row
    if kind == "count":
        return row / seconds
    if kind == "histogram":
        if name == "rate":
            return {value: count / seconds for value, count in row.items()}
        values = [value for value, count in row.items() for _ in range(count)]
    else:
        values = list(row)
    return {
        "mean": lambda: sum(values) / len(values) if values else 0,
        "count": lambda: len(values),
        "min": lambda: min(values, default=0),
        "max": lambda: max(values, default=0),
        "sum": lambda: sum(values),
        "rate": lambda: len(values) / seconds,
    }[name]()


class Model:
    """Answer as a series would that all inserts of the log went into.

    :param kind: the type of the series.
    :param intervals: as kairos takes them.
    :param view: what the store and ``read_func`` make of a value.
    """

    def __init__(
        self,
        kind: str,
        intervals: Mapping[str, Mapping[str, Any]],
        view: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.kind = kind
        self.view = view
        self.intervals = {
            name: (parse(config["step"]), parse(config.get("resolution", config["step"])))
            for name, config in intervals.items()
        }
        self.steps = {name: config.get("steps") or 1 for name, config in intervals.items()}
        #: interval -> name -> start of the interval -> start of the resolution -> row
        self.rows: dict[str, dict[str, dict[int, dict[int, Any]]]] = {
            name: {} for name in intervals
        }

    def insert(self, name: str, value: Any, timestamp: float, intervals: int = 0) -> None:
        """Note one insert."""
        values = list(value) if isinstance(value, (list, tuple, set)) else [value]
        for interval, (step, resolution) in self.intervals.items():
            moments = [timestamp]
            sign = 1 if intervals > 0 else -1
            for steps in range(sign, intervals + sign, sign) if intervals else ():
                moments.append(shifted(step, timestamp, steps))
            for when in moments:
                table = self.rows[interval].setdefault(name, {})
                cell = table.setdefault(start_of(step, when), {})
                at = start_of(resolution, when)
                for each in values:
                    row = cell.get(at, EMPTY[self.kind]())
                    cell[at] = add(self.kind, row, self.view(each))

    def range(self, interval: str, start: Any, end: Any, steps: Any = None) -> list[int]:
        """Return the starts of all intervals that a call of series lists."""
        step, _ = self.intervals[interval]
        count = steps or self.steps[interval]
        if start is None:
            first, last = shifted(step, end, 1 - count), start_of(step, end)
        elif end is None:
            first, last = start_of(step, start), shifted(step, start, count - 1)
        else:
            first, last = start_of(step, start), start_of(step, end)
        found = [first]
        while end_of(step, found[-1]) <= last:
            found.append(end_of(step, found[-1]))
        return found

    def _interval(self, names: Sequence[str], interval: str, start: int, condense: bool) -> Any:
        """Return the row of one interval, or ``{r_time: row}``."""
        cells = [self.rows[interval].get(name, {}).get(start, {}) for name in names]
        step, resolution = self.intervals[interval]
        nested = OrderedDict(
            (at, merge(self.kind, [cell[at] for cell in cells if at in cell]))
            for at in sorted({at for cell in cells for at in cell})
        )
        if step != resolution and not condense:
            return nested
        return merge(self.kind, list(nested.values())) if nested else EMPTY[self.kind]()

    def get(
        self, names: Any, interval: str, timestamp: float, condense: bool = False, named: Any = None
    ) -> OrderedDict[int, Any]:
        """Return what ``get`` returns; ``named`` is the name of a transform."""
        step, resolution = self.intervals[interval]
        start = start_of(step, timestamp)
        row = self._interval(_list(names), interval, start, condense)
        if step == resolution or condense:
            return OrderedDict(
                [(start, self._transformed(named, row, end_of(step, start) - start))]
            )
        return self._nested(named, row, resolution)

    def series(
        self,
        names: Any,
        interval: str,
        start: Any = None,
        end: Any = None,
        steps: Any = None,
        condense: bool = False,
        collapse: bool = False,
        named: Any = None,
    ) -> OrderedDict[int, Any]:
        """Return what ``series`` returns; ``named`` is the name of a transform."""
        step, resolution = self.intervals[interval]
        starts = self.range(interval, start, end, steps)
        flat = condense or collapse or step == resolution
        rows = [(at, self._interval(_list(names), interval, at, flat)) for at in starts]
        if collapse:
            present = [
                row
                for at, row in rows
                if any(at in self.rows[interval].get(name, {}) for name in _list(names))
            ]
            value = merge(self.kind, present) if present else EMPTY[self.kind]()
            covered = end_of(step, starts[-1]) - starts[0]
            return OrderedDict([(starts[0], self._transformed(named, value, covered))])
        if flat:
            return OrderedDict(
                (at, self._transformed(named, row, end_of(step, at) - at)) for at, row in rows
            )
        return OrderedDict((at, self._nested(named, row, resolution)) for at, row in rows)

    def properties(self, name: str) -> dict[str, dict[str, int]]:
        """Return what ``properties`` returns."""
        return {
            interval: {"first": min(tables[name]), "last": max(tables[name])}
            for interval, tables in self.rows.items()
            if name in tables
        }

    def _nested(self, named: Any, rows: Mapping[int, Any], resolution: int | str) -> Any:
        return OrderedDict(
            (at, self._transformed(named, row, end_of(resolution, at) - at))
            for at, row in rows.items()
        )

    def _transformed(self, named: Any, row: Any, seconds: int) -> Any:
        return row if named is None else transform(self.kind, named, row, seconds)


def _list(names: Any) -> list[str]:
    if isinstance(names, set):
        return sorted(names)
    return list(names) if isinstance(names, (list, tuple)) else [names]
