"""What is written and read in all jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

#: The three intervals of a write: on Redis, one value takes eight commands.
INTERVALS: Final[dict[str, dict[str, Any]]] = {
    "minute": {"step": 60, "steps": 120},
    "hour": {"step": 3600, "steps": 48, "resolution": 60},
    "daily": {"step": "daily", "resolution": "1h"},
}
#: The intervals that are read. They keep everything, so that the data can lie at a time of its own.
READ_INTERVALS: Final[dict[str, dict[str, Any]]] = {
    "minute": {"step": 60},
    "hour": {"step": 3600, "resolution": 60},
}
TYPES: Final = ("series", "histogram", "count", "gauge", "set")

#: The hour that the data to be read begins with.
START: Final = 444_444 * 3600
#: Coarse buckets that are read, and intervals with their resolution buckets.
COARSE: Final = 120
HOURS: Final = 48
MINUTES: Final = HOURS * 60
#: Values in each bucket that is read.
VALUES: Final = 10

BULK: Final = 10_000
#: Seconds over which the values of a bulk insert are spread.
BULK_SECONDS: Final = 1800
WIDE_NAMES: Final = 1000

NAME: Final = "page.views"

#: ``{timestamp: {name: [value, ...]}}``
Inserts = dict[float, dict[str, list[Any]]]


def value_of(type: str, index: int = 0) -> float:
    """Return a value of a type: floats in all but counts, with two decimals.

    They are exact in single precision, as MariaDB keeps them in the tables that the original made.
    """
    return index % 9 + 1 if type == "count" else index * 37 % 1000 / 2 + 0.25


def bulk(type: str, names: int, values: int = BULK, now: float | None = None) -> Inserts:
    """Return values over half an hour of the past hour, each with a time of its own.

    :param names: that take turns.
    """
    # From the sixth minute of an hour on, so that all lie in one hour, and in 31 of its minutes.
    start = (int(now or time.time()) // 3600 - 1) * 3600 + 330
    inserts: Inserts = {}
    for index in range(values):
        moment = start + index * BULK_SECONDS / values
        # Names are alike in their digits and length, as those of things that were counted are.
        name = f"{NAME}.{index % names:04}"
        inserts.setdefault(moment, {}).setdefault(name, []).append(value_of(type, index))
    return inserts


def stream(type: str, names: int, values: int) -> Iterator[tuple[int, str, float]]:
    """Yield (timestamp, name, value), a value each second."""
    for index in range(values):
        yield START + index, f"{NAME}.{index % names:04}", value_of(type, index)


def readable(type: str) -> Inserts:
    """Return what is read: ten values in each minute of two days, or one in a count."""
    inserts: Inserts = {}
    for minute in range(MINUTES):
        for second in range(1 if type == "count" else VALUES):
            moment = START + 60 * minute + second
            inserts[moment] = {NAME: [value_of(type, minute * 7 + second)]}
    return inserts
