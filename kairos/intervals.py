"""Time to bucket and back, and the configuration of intervals.

Everything here is integer arithmetic in UTC; the time zone of the machine plays no part. A *bucket* is an
integer id: ``timestamp // step`` for a relative step, and ``YYYYMMDD``, ``YYYYWW``, ``YYYYMM`` or ``YYYY``
for a Gregorian one. Timestamps are Unix seconds.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import MAXYEAR, MINYEAR, date, datetime, timedelta, timezone
from functools import partial
from itertools import repeat
from typing import Any, Final

from .exceptions import InvalidInterval, InvalidType, InvalidValue, MissingStep, TooManyBuckets

DAY: Final = 86400
#: Proleptic Gregorian ordinal of 1970-01-01.
EPOCH: Final = date(1970, 1, 1).toordinal()
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND: Final = timedelta(seconds=1)

#: Seconds of each suffix that a step may carry.
UNITS: Final = {
    "": 1,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": DAY,
    "w": 7 * DAY,
    "m": 30 * DAY,
    "y": 365 * DAY,
}
#: Nominal seconds of the Gregorian steps; retention counts with these.
GREGORIAN: Final = {"daily": DAY, "weekly": 7 * DAY, "monthly": 30 * DAY, "yearly": 365 * DAY}

_STEP: Final = re.compile(r"([+-]?\d{1,18})\s*([a-z]*)", re.ASCII)

#: The longest retention in seconds: with the current time it stays below 64 bits of milliseconds.
MAX_RETENTION: Final = 2**53

#: A range of this many buckets, or more, is refused where it would have to be built in memory.
MAX_BUCKETS: Final = 1_000_000


def whole_seconds(timestamp: Any) -> int:
    """Return a timestamp as whole Unix seconds, rounded down.

    :param timestamp: Unix seconds (any real number), or an aware datetime.
    :raises InvalidValue: for NaN, infinity and a naive datetime.
    :raises InvalidType: for what is no point in time at all.
    """
    kind = type(timestamp)
    if kind is int:
        return timestamp  # type: ignore[no-any-return]
    if kind is not float and isinstance(timestamp, datetime):
        if timestamp.utcoffset() is None:
            raise InvalidValue(
                f"timestamp {timestamp!r} is naive: give it a tzinfo, its zone would be a guess"
            )
        return (timestamp - _EPOCH_UTC) // _SECOND
    try:
        whole: int = math.floor(timestamp)
        return whole
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"timestamp {timestamp!r} is not a point in time") from error
    except TypeError as error:
        raise InvalidType(
            f"timestamp must be Unix seconds or an aware datetime, not {timestamp!r}"
        ) from error


class _Time:
    """Share what relative and Gregorian steps derive from their bounds."""

    #: Seconds of one step, nominal for Gregorian ones; retention counts with it.
    seconds: int

    def __init__(self) -> None:
        # One immutable tuple, replaced as a whole: threads may race for it, none sees half of one.
        self._current: tuple[int, int, int] = (0, 0, 0)

    def _bounds(self, timestamp: int) -> tuple[int, int, int]:
        """Compute (start, end, bucket) of the bucket that holds a timestamp; the end is exclusive."""
        raise NotImplementedError

    def _shift(self, timestamp: int, steps: int) -> int:
        """Return a timestamp that lies ``steps`` steps later."""
        raise NotImplementedError

    def bounds(self, timestamp: Any) -> tuple[int, int, int]:
        """Return (start, end, bucket) of the bucket that holds a timestamp; the end is exclusive."""
        timestamp = whole_seconds(timestamp)
        current = self._current
        if not current[0] <= timestamp < current[1]:
            self._current = current = self._bounds(timestamp)
        return current

    def to_bucket(self, timestamp: Any, steps: int = 0) -> int:
        """Return the bucket that holds a timestamp, moved by a number of steps.

        :param timestamp: Unix seconds or an aware datetime.
        :param steps: how many steps later, or earlier if negative.
        """
        if steps:
            timestamp = self._shift(whole_seconds(timestamp), steps)
        return self.bounds(timestamp)[2]

    def from_bucket(self, bucket: int) -> int:
        """Return the first second of a bucket."""
        raise NotImplementedError

    def from_buckets(self, buckets: Iterable[int]) -> list[int]:
        """Return the first second of each of many buckets."""
        return list(map(self.from_bucket, buckets))

    def normalize(self, timestamp: Any, steps: int = 0) -> int:
        """Return the first second of the bucket that holds a timestamp, moved by a number of steps."""
        if steps:
            timestamp = self._shift(whole_seconds(timestamp), steps)
        return self.bounds(timestamp)[0]

    def iterate(self, start: Any, end: Any) -> Iterator[int]:
        """Yield every bucket that has a second in [start, end], in order."""
        timestamp, last = whole_seconds(start), whole_seconds(end)
        while timestamp <= last:
            _, timestamp, bucket = self._bounds(timestamp)
            yield bucket

    def buckets(self, start: Any, end: Any) -> list[int]:
        """Return every bucket that has a second in [start, end], once, in order; none if start > end.

        :raises TooManyBuckets: from a million buckets on.
        """
        first, last = whole_seconds(start), whole_seconds(end)
        # A Gregorian step is never longer than a leap year, or a week's two halves.
        if (last - first) // self.seconds + 1 >= MAX_BUCKETS:
            raise TooManyBuckets(
                f"the range from {first} to {last} holds a million buckets of {self.seconds} seconds or "
                "more: read it in parts, or with iterate()"
            )
        return list(self.iterate(first, last))

    def step_size(self, t0: Any = None, t1: Any = None) -> int:
        """Return the seconds of a step, of the bucket that holds t0, or of all buckets from t0 to t1."""
        if t0 is None:
            return self.seconds
        start, end, _ = self.bounds(t0)
        if t1 is not None:
            end = max(end, self.bounds(t1)[1])
        return end - start

    def step_sizes(self, times: Collection[int]) -> Iterator[int]:
        """Return the seconds of the bucket that holds each of many times."""
        return map(self.step_size, times)

    def ttl(self, steps: int, relative_time: Any = None) -> int:
        """Return the seconds that a bucket is kept for.

        :param steps: how many steps are kept.
        :param relative_time: a time in the bucket that is to be kept, default now. Retention is counted
            in whole buckets: data of the current bucket is kept for ``steps`` steps from now, of the
            one before for a step less.
        :returns: seconds, 0 when the bucket is already out of the window.
        """
        whole = steps * self.seconds
        if relative_time is None:
            return whole
        age = self.normalize(int(time.time())) - self.normalize(relative_time)
        return max(0, whole - age)


class RelativeTime(_Time):
    """Divide time into buckets of a fixed number of seconds, counted from the Unix epoch."""

    def __init__(self, step: int = 1) -> None:
        super().__init__()
        self.seconds = self.step = step

    def _bounds(self, timestamp: int) -> tuple[int, int, int]:
        bucket = timestamp // self.step
        start = bucket * self.step
        return start, start + self.step, bucket

    def _shift(self, timestamp: int, steps: int) -> int:
        return timestamp + steps * self.step

    def step_size(self, t0: Any = None, t1: Any = None) -> int:
        """Return the seconds of a step, or of all buckets from t0 to t1."""
        return self.step if t1 is None else super().step_size(t0, t1)

    def from_bucket(self, bucket: int) -> int:
        """Return the first second of a bucket."""
        return int(bucket) * self.step

    def from_buckets(self, buckets: Iterable[int]) -> list[int]:
        """Return the first second of each of many buckets."""
        step = self.step
        return [bucket * step for bucket in map(int, buckets)]

    def step_sizes(self, times: Collection[int]) -> Iterator[int]:
        """Return the seconds of the bucket that holds each of many times."""
        return repeat(self.step, len(times))

    def iterate(self, start: Any, end: Any) -> Iterator[int]:
        """Yield every bucket that has a second in [start, end], in order."""
        first, last = whole_seconds(start), whole_seconds(end)
        if first > last:
            return iter(())
        return iter(range(first // self.step, last // self.step + 1))

    def __repr__(self) -> str:
        return f"RelativeTime({self.step})"


def _first_of(year: int, month: int = 1) -> int:
    """Return the ordinal of the first day of a month; the end of the calendar is a month too."""
    return date(year, month, 1).toordinal() if year <= MAXYEAR else date.max.toordinal() + 1


def _week_zero(year: int) -> int:
    """Return the ordinal from which week n of ``%U`` begins 7 * n days later; Sundays divide by 7.

    Week 0, the days before the first Sunday, is cut off at January 1.
    """
    january_1 = _first_of(year)
    return january_1 + -january_1 % 7 - 7


class GregorianTime(_Time):
    """Divide time into the days, weeks, months or years of the calendar, in UTC.

    Weeks start on Sunday and never reach over New Year: the days of a year before its first Sunday are
    week 00, as in ``%Y%U`` of ``strftime``. The calendar covers the years 1 to 9999.
    """

    def __init__(self, step: str = "daily") -> None:
        super().__init__()
        if step not in GREGORIAN:
            raise InvalidInterval(f"unknown Gregorian step {step!r}: use one of {', '.join(GREGORIAN)}")
        self.step = step
        self.seconds = GREGORIAN[step]

    def _day(self, timestamp: int) -> date:
        try:
            return date.fromordinal(timestamp // DAY + EPOCH)
        except (ValueError, OverflowError) as error:
            raise InvalidValue(f"timestamp {timestamp} is outside of the years 1 to 9999") from error

    def _bounds(self, timestamp: int) -> tuple[int, int, int]:
        day = self._day(timestamp)
        year, month = day.year, day.month
        ordinal = day.toordinal()
        if self.step == "daily":
            start, end, bucket = ordinal, ordinal + 1, (year * 100 + month) * 100 + day.day
        elif self.step == "weekly":
            zero = _week_zero(year)
            week = (ordinal - zero) // 7
            start = zero + 7 * week
            end = min(start + 7, _first_of(year + 1))
            start, bucket = max(start, _first_of(year)), year * 100 + week
        elif self.step == "monthly":
            start = ordinal - day.day + 1
            end, bucket = _first_of(year + month // 12, month % 12 + 1), year * 100 + month
        else:
            start, end, bucket = _first_of(year), _first_of(year + 1), year
        return (start - EPOCH) * DAY, (end - EPOCH) * DAY, bucket

    def _shift(self, timestamp: int, steps: int) -> int:
        if self.step == "daily":
            return timestamp + steps * DAY
        if self.step == "weekly":
            return timestamp + steps * 7 * DAY
        day = self._day(timestamp)
        months = day.year * 12 + day.month - 1 + (steps if self.step == "monthly" else steps * 12)
        year, month = divmod(months, 12)
        if not MINYEAR <= year <= MAXYEAR:
            raise InvalidValue(f"{steps} steps from timestamp {timestamp} leave the years 1 to 9999")
        first = _first_of(year, month + 1)
        last = _first_of(year + (month + 1) // 12, (month + 1) % 12 + 1) - 1
        moved = min(first + day.day - 1, last)
        return (moved - EPOCH) * DAY + timestamp % DAY

    def from_bucket(self, bucket: int) -> int:
        """Return the first second of a bucket.

        :raises InvalidValue: when the calendar has no such bucket.
        """
        bucket = int(bucket)
        try:
            if self.step == "daily":
                start = date(bucket // 10000, bucket // 100 % 100, bucket % 100).toordinal()
            elif self.step == "weekly":
                year, week = divmod(bucket, 100)
                sunday = _week_zero(year) + 7 * week
                start = max(_first_of(year), sunday)
                if not start < min(sunday + 7, _first_of(year + 1)):
                    raise ValueError(f"{year} has no week {week}")
            elif self.step == "monthly":
                start = date(bucket // 100, bucket % 100, 1).toordinal()
            else:
                start = date(bucket, 1, 1).toordinal()
        except (ValueError, OverflowError) as error:
            raise InvalidValue(f"{bucket} is no {self.step} bucket: {error}") from error
        return (start - EPOCH) * DAY

    def __repr__(self) -> str:
        return f"GregorianTime({self.step!r})"


def parse_step(step: Any, what: str = "step") -> int | str:
    """Return a step as seconds, or as the name of a Gregorian step.

    :param step: seconds (a whole number, or digits), ``<n>`` with one of the suffixes
        ``s min h d w m y`` (m is 30 days, y is 365), a Gregorian name, or a timedelta.
    :param what: how errors name it.
    :raises InvalidInterval: for everything else, and for steps that are not positive.
    """
    seconds: Any = None
    rest: Any = 0
    if isinstance(step, timedelta):
        seconds, rest = divmod(step, _SECOND)
    elif isinstance(step, str):
        name = step.strip().lower()
        if name in GREGORIAN:
            return name
        match = _STEP.fullmatch(name)
        if match and match[2] in UNITS:
            seconds = int(match[1]) * UNITS[match[2]]
    elif isinstance(step, (int, float)) and not isinstance(step, bool):
        seconds = step
    if seconds is None or (isinstance(seconds, float) and not math.isfinite(seconds)):
        raise InvalidInterval(
            f"{what} {step!r} is not understood: use seconds, '<n>' with s, min, h, d, w, m or y, a "
            f"timedelta, or one of {', '.join(GREGORIAN)}"
        )
    if rest or seconds != int(seconds):
        raise InvalidInterval(f"{what} {step!r} is not a whole number of seconds")
    if seconds <= 0:
        raise InvalidInterval(f"{what} {step!r} must be greater than 0")
    return int(seconds)


def _calculator(step: int | str) -> RelativeTime | GregorianTime:
    return GregorianTime(step) if isinstance(step, str) else RelativeTime(step)


def warn_unknown(what: str, unknown: str, known: list[str], stacklevel: int) -> None:
    """Warn of a key that nothing reads, and name the known one that it resembles most."""
    import difflib  # costs at import, and is seldom needed

    near = difflib.get_close_matches(unknown, known, 1, 0.0)
    warnings.warn(f"{what} {unknown!r} is unknown; did you mean {near[0]!r}?", stacklevel=stacklevel)


class Interval(Mapping[str, Any]):
    """Hold one named, checked interval configuration; it is never changed after it was made.

    It is a mapping with the keys ``interval step steps resolution i_calc r_calc expire ttl coarse``, as
    applications know it, and the same names are attributes.
    """

    KEYS: Final = (
        "interval",
        "step",
        "steps",
        "resolution",
        "i_calc",
        "r_calc",
        "expire",
        "ttl",
        "coarse",
    )

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        name = check_name(name, "the name of an interval")
        if isinstance(config, Interval):
            config = {key: config[key] for key in ("step", "steps", "resolution")}
        if not isinstance(config, Mapping):
            raise InvalidType(f"interval {name!r} must be a mapping with a 'step', not {config!r}")
        for key in config:
            if key not in ("step", "steps", "resolution"):
                known = ["step", "steps", "resolution"]
                warn_unknown(f"interval {name!r}: key", str(key), known, stacklevel=5)
        if config.get("step") is None:
            raise MissingStep(f"interval {name!r} has no 'step'")
        self.interval = name
        self.step = parse_step(config["step"], f"interval {name!r}: step")
        resolution = config.get("resolution")
        self.resolution = (
            self.step
            if resolution is None
            else parse_step(resolution, f"interval {name!r}: resolution")
        )
        self.coarse = self.resolution == self.step
        self.i_calc = _calculator(self.step)
        self.r_calc = self.i_calc if self.coarse else _calculator(self.resolution)
        if self.r_calc.seconds > self.i_calc.seconds:
            raise InvalidInterval(
                f"interval {name!r}: resolution {resolution!r} is larger than step {config['step']!r}"
            )
        self.steps = self._steps(name, config.get("steps"))
        self.expire = self.steps * self.i_calc.seconds if self.steps else None
        if self.expire and self.expire > MAX_RETENTION:
            raise InvalidInterval(
                f"interval {name!r}: no store keeps data for {self.expire} seconds and then deletes it; "
                "without 'steps' it is kept forever"
            )
        self.ttl = partial(self.i_calc.ttl, self.steps or 0)

    @staticmethod
    def _steps(name: str, steps: Any) -> int | None:
        """Return how many steps are kept, None for all; 0 has always meant the same."""
        if steps is None:
            return None
        try:
            whole = int(steps)
            if isinstance(steps, bool) or (not isinstance(steps, str) and whole != steps):
                raise ValueError
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInterval(
                f"interval {name!r}: steps {steps!r} is not a whole number"
            ) from error
        if whole < 0:
            raise InvalidInterval(f"interval {name!r}: steps {steps!r} must not be negative")
        return whole or None

    def __getitem__(self, key: str) -> Any:
        if key not in self.KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.KEYS)

    def __len__(self) -> int:
        return len(self.KEYS)

    def __repr__(self) -> str:
        return (
            f"Interval({self.interval!r}, step={self.step!r}, steps={self.steps!r}, "
            f"resolution={self.resolution!r})"
        )


def check_name(name: Any, what: str) -> str:
    """Return a name as plain text, or raise unless it is text that every store can hold as a key.

    A member of an enumeration that derives from ``str`` becomes its value: formatted or handed to a
    driver, it would be its name in one place and its value in another.

    :raises InvalidType: when it is not a string.
    :raises InvalidValue: when it is empty, contains NUL, or cannot be encoded as UTF-8.
    """
    if not isinstance(name, str):
        raise InvalidType(f"{what} must be a string, not {name!r}")
    if not name:
        raise InvalidValue(f"{what} must not be empty")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidValue(f"{what} {name!r} cannot be encoded: {error}") from error
    if "\0" in name:
        raise InvalidValue(f"{what} {name!r} contains NUL")
    return name if type(name) is str else str.__str__(name)


class Target:
    """Name one bucket that a value belongs to: an interval, its bucket, and its resolution bucket.

    :ivar interval: the :class:`Interval`.
    :ivar i_bucket: the bucket of its step.
    :ivar r_bucket: the bucket of its resolution, None when the interval is coarse.
    :ivar i_start: the first second of ``i_bucket``; retention is counted from it.
    :ivar key: what tells this bucket from all others of its series.
    :ivar at: the second that this target was placed at, None when it serves many.
    """

    __slots__ = ("at", "i_bucket", "i_start", "interval", "key", "r_bucket")

    def __init__(
        self, interval: Interval, i_bucket: int, r_bucket: int | None, i_start: int
    ) -> None:
        self.at: int | None = None
        self.key = interval.interval, i_bucket, r_bucket
        self.interval = interval
        self.i_bucket = i_bucket
        self.r_bucket = r_bucket
        self.i_start = i_start


class Placement:
    """List the targets of all intervals for every second of [start, end).

    :ivar lifetimes: the placement of a current time, each target with the seconds that a write at that
        time must live, as they were worked out last, and a dict for what a backend prepares for such writes.
        It is replaced as a whole, so threads may share it.
    """

    __slots__ = ("end", "lifetimes", "start", "targets")

    def __init__(self, start: int, end: int, targets: tuple[Target, ...]) -> None:
        self.start = start
        self.end = end
        self.targets = targets
        self.lifetimes: Lifetimes | None = None


#: See :class:`Placement`.
Lifetimes = tuple[Placement, tuple[tuple[Target, "int | None"], ...], dict[Any, Any]]


class Schedule:
    """Place timestamps into the buckets of a set of intervals.

    All buckets that a timestamp falls into stay the same until the next boundary of any of them, so the
    last answer is kept and serves until then: placing a value costs two comparisons.
    """

    def __init__(
        self, intervals: Mapping[str, Interval], target: type[Target] = Target
    ) -> None:
        self._intervals = tuple(intervals.values())
        self._target = target
        self._last = Placement(0, 0, ())
        self._now = Placement(0, 0, ())

    def place(self, timestamp: int) -> Placement:
        """Return the placement of a timestamp (whole Unix seconds)."""
        last = self._last
        if last.start <= timestamp < last.end:
            return last
        now = self._now
        if now.start <= timestamp < now.end:
            return now
        self._last = last = self._compute(timestamp)
        return last

    def now(self, timestamp: int) -> Placement:
        """Return the placement of the current time; it is kept apart from that of the data."""
        now = self._now
        if not now.start <= timestamp < now.end:
            self._now = now = self._compute(timestamp)
        return now

    def _compute(self, timestamp: int) -> Placement:
        lower: list[int] = []
        upper: list[int] = []
        targets: list[Target] = []
        for interval in self._intervals:
            target, start, end = self._one(interval, timestamp)
            lower.append(start)
            upper.append(end)
            targets.append(target)
        return Placement(max(lower), min(upper), tuple(targets))

    def _one(self, interval: Interval, timestamp: int) -> tuple[Target, int, int]:
        """Return the target of one interval, and the seconds [start, end) for which it stays the same."""
        i_start, end, i_bucket = interval.i_calc.bounds(timestamp)
        if interval.coarse:
            return self._target(interval, i_bucket, None, i_start), i_start, end
        r_start, r_end, r_bucket = interval.r_calc.bounds(timestamp)
        target = self._target(interval, i_bucket, r_bucket, i_start)
        return target, max(i_start, r_start), min(end, r_end)

    def shifted(self, timestamp: int, steps: int) -> Iterator[Target]:
        """Yield the targets at the start of the step that is ``steps`` later, interval by interval."""
        for interval in self._intervals:
            moved = interval.i_calc.normalize(timestamp, steps)
            target, _, _ = self._one(interval, moved)
            target.at = moved
            yield target
