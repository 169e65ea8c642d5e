"""Time to bucket and back, against ``datetime``, ``strftime`` and fractions."""

from __future__ import annotations

import calendar
import json
import math
import pickle
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kairos.timeseries
from kairos.exceptions import (
    InvalidInterval,
    InvalidType,
    InvalidValue,
    KairosException,
    MissingStep,
    TooManyBuckets,
)
from kairos.intervals import (
    GREGORIAN,
    MAX_BUCKETS,
    GregorianTime,
    Interval,
    RelativeTime,
    Schedule,
    check_name,
    parse_step,
    whole_seconds,
)

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = 86400
FORMATS = {"daily": "%Y%m%d", "weekly": "%Y%U", "monthly": "%Y%m", "yearly": "%Y"}
STEPS = (1, 7, 60, 3600, 86_399, DAY, 7 * DAY, 30 * DAY, 365 * DAY, 10**9)
#: Far east and far west of Greenwich, with daylight saving in both hemispheres, and off the hour.
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "Australia/Lord_Howe")

Calculator = RelativeTime | GregorianTime


def unix(*when: int) -> int:
    """Return the Unix time of a moment in UTC."""
    return (datetime(*when, tzinfo=UTC) - EPOCH) // SECOND  # type: ignore[arg-type, misc]


FIRST, LAST = unix(1, 1, 1), unix(9999, 12, 31, 23, 59, 59)
OLD, FAR = unix(1900, 1, 1), unix(2200, 12, 31, 23, 59, 59)

around_new_year = st.builds(
    lambda year, seconds: unix(year, 1, 1) + seconds,
    st.integers(1900, 2200),
    st.integers(-9 * DAY, 9 * DAY),
)
around_leap_day = st.builds(
    lambda year, seconds: unix(year, 3, 1) + seconds,
    st.integers(1900, 2200),
    st.integers(-2 * DAY, DAY),
)
#: Every second of 1900 to 2200, those where calendars go wrong more often than others, and the edges.
seconds = st.one_of(
    st.integers(OLD, FAR),
    around_new_year,
    around_leap_day,
    st.integers(-3, 3),
    st.integers(FIRST, LAST),
    st.integers(FIRST, FIRST + 9 * DAY),
    st.integers(LAST - 9 * DAY, LAST),
)
gregorian = st.sampled_from(sorted(FORMATS)).map(GregorianTime)
relative = st.one_of(st.sampled_from(STEPS), st.integers(1, 10**10)).map(RelativeTime)
calculators = st.one_of(gregorian, relative)


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the machine be in a time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def bucket_by_calendar(calculator: Calculator, timestamp: int) -> int:
    """Return the bucket of a timestamp by means of ``strftime`` or exact fractions."""
    if isinstance(calculator, RelativeTime):
        return math.floor(Fraction(timestamp, calculator.step))
    return int((EPOCH + timedelta(seconds=timestamp)).strftime(FORMATS[calculator.step]))


# --- to buckets and back -----------------------------------------------------------------------------


@given(calculator=calculators, timestamp=seconds)
@settings(max_examples=150)
def test_bucket_holds_its_seconds(zone: str, calculator: Calculator, timestamp: int) -> None:
    bucket = calculator.to_bucket(timestamp)
    assert bucket == bucket_by_calendar(calculator, timestamp)
    start, end, same = calculator.bounds(timestamp)
    assert same == bucket
    assert calculator.from_bucket(bucket) == calculator.normalize(timestamp) == start
    assert start <= timestamp < end
    assert calculator.to_bucket(start) == bucket
    assert calculator.step_size(timestamp) == end - start
    # The seconds at both ends belong to the bucket, those beyond them to others.
    for inside in (start, end - 1):
        if FIRST <= inside <= LAST:
            assert bucket_by_calendar(calculator, inside) == bucket
    for outside in (start - 1, end):
        if FIRST <= outside <= LAST:
            assert bucket_by_calendar(calculator, outside) != bucket
            assert calculator.to_bucket(outside) != bucket


@pytest.mark.parametrize("step", FORMATS)
def test_every_bucket_of_three_centuries(step: str) -> None:
    calculator = GregorianTime(step)
    expected: list[int] = []
    starts: list[int] = []
    for ordinal in range(date(1900, 1, 1).toordinal(), date(2200, 12, 31).toordinal() + 1):
        day = date.fromordinal(ordinal)
        bucket = int(day.strftime(FORMATS[step]))
        midnight = unix(day.year, day.month, day.day)
        assert calculator.to_bucket(midnight) == calculator.to_bucket(midnight + DAY - 1) == bucket
        if not expected or expected[-1] != bucket:
            expected.append(bucket)
            starts.append(midnight)
    assert calculator.buckets(OLD, FAR) == expected
    assert [calculator.from_bucket(bucket) for bucket in expected] == starts
    for (start, following), bucket in zip(pairwise(starts), expected, strict=False):
        assert calculator.step_size(start) == following - start
        assert calculator.bounds(following - 1) == (start, following, bucket)


@given(
    calculator=calculators,
    start=seconds,
    length=st.integers(0, 400 * DAY),
)
def test_buckets_skip_none_and_repeat_none(calculator: Calculator, start: int, length: int) -> None:
    if isinstance(calculator, RelativeTime):
        length = min(length, 50 * calculator.step)
    end = min(start + length, LAST)
    if start > end:
        return
    buckets = calculator.buckets(start, end)
    assert buckets == list(calculator.iterate(start, end))
    assert buckets[0] == bucket_by_calendar(calculator, start)
    assert buckets[-1] == bucket_by_calendar(calculator, end)
    for one, other in pairwise(buckets):
        following = calculator.from_bucket(other)
        assert start < following <= end
        assert bucket_by_calendar(calculator, following) == other
        assert bucket_by_calendar(calculator, following - 1) == one


def test_both_weeks_of_a_new_year_are_listed() -> None:
    weekly = GregorianTime("weekly")
    assert weekly.buckets(unix(2013, 12, 31), unix(2014, 1, 1)) == [201352, 201400]
    assert weekly.from_bucket(201400) == unix(2014, 1, 1)
    assert weekly.step_size(unix(2013, 12, 31)) == 3 * DAY
    assert weekly.step_size(unix(2014, 1, 1)) == 4 * DAY
    # 2012 began on a Sunday and has a week 53; 2017 has no week 00.
    assert weekly.buckets(unix(2012, 12, 30), unix(2013, 1, 6)) == [201253, 201300, 201301]
    assert weekly.buckets(unix(2016, 12, 31), unix(2017, 1, 1)) == [201652, 201701]


@pytest.mark.parametrize(
    ("step", "bucket"),
    [
        ("daily", 20130229),
        ("daily", 20131301),
        ("weekly", 201700),
        ("weekly", 201453),
        ("weekly", 1_000_001),
        ("monthly", 201313),
        ("monthly", 201300),
        ("yearly", 0),
        ("yearly", 10_000),
        ("yearly", -1),
        ("daily", 10**30),
    ],
)
def test_no_such_bucket(step: str, bucket: int) -> None:
    with pytest.raises(InvalidValue, match=rf"^{bucket} is no {step} bucket"):
        GregorianTime(step).from_bucket(bucket)


def test_calendar_has_ends() -> None:
    for step in FORMATS:
        calculator = GregorianTime(step)
        assert calculator.normalize(FIRST) == FIRST
        assert calculator.bounds(LAST)[1] == LAST + 1
        assert calculator.buckets(LAST - 1, LAST)[0] == calculator.to_bucket(LAST)
        for outside in (FIRST - 1, LAST + 1, 10**18, -(10**30)):
            with pytest.raises(InvalidValue, match=f"{outside} is outside of the years 1 to 9999"):
                calculator.to_bucket(outside)
    # Relative steps know no calendar.
    assert RelativeTime(60).to_bucket(-(10**30)) == -(10**30) // 60


@given(calculator=calculators, start=seconds, later=st.integers(1, 10**9))
def test_range_that_ends_before_it_starts_is_empty(
    calculator: Calculator, start: int, later: int
) -> None:
    assert calculator.buckets(start, start - later) == []


# --- moving by steps ---------------------------------------------------------------------------------


@given(step=st.sampled_from(STEPS), timestamp=seconds, steps=st.integers(-(10**6), 10**6))
def test_relative_move(step: int, timestamp: int, steps: int) -> None:
    calculator = RelativeTime(step)
    bucket = math.floor(Fraction(timestamp, step) + steps)
    assert calculator.to_bucket(timestamp, steps) == bucket
    assert calculator.normalize(timestamp, steps) == bucket * step


@given(
    step=st.sampled_from(sorted(FORMATS)),
    timestamp=st.integers(OLD, FAR),
    steps=st.integers(-500, 500),
)
@example(step="monthly", timestamp=unix(2013, 1, 31), steps=1)
@example(step="monthly", timestamp=unix(2012, 3, 31, 12), steps=-1)
@example(step="yearly", timestamp=unix(2012, 2, 29), steps=1)
@example(step="yearly", timestamp=unix(2012, 2, 29), steps=-112)
@example(step="weekly", timestamp=unix(2013, 12, 30), steps=1)
def test_calendar_move(zone: str, step: str, timestamp: int, steps: int) -> None:
    when = EPOCH + timedelta(seconds=timestamp)
    if step == "daily":
        moved = when + timedelta(days=steps)
    elif step == "weekly":
        moved = when + timedelta(weeks=steps)
    else:
        months = when.year * 12 + when.month - 1 + steps * (12 if step == "yearly" else 1)
        year, month = months // 12, months % 12 + 1
        moved = when.replace(
            year=year, month=month, day=min(when.day, calendar.monthrange(year, month)[1])
        )
    calculator = GregorianTime(step)
    assert calculator.to_bucket(timestamp, steps) == int(moved.strftime(FORMATS[step]))
    assert calculator.normalize(timestamp, steps) == calculator.normalize(
        (moved - EPOCH) // SECOND
    )


@pytest.mark.parametrize("step", FORMATS)
def test_move_out_of_the_calendar(step: str) -> None:
    calculator = GregorianTime(step)
    assert calculator.to_bucket(LAST, 0) == calculator.to_bucket(LAST)
    for timestamp, steps in ((LAST, 1), (FIRST, -1), (0, 10**7), (0, -(10**7))):
        with pytest.raises(InvalidValue, match="years 1 to 9999"):
            calculator.to_bucket(timestamp, steps)


# --- timestamps --------------------------------------------------------------------------------------


@given(calculator=calculators, timestamp=st.floats(OLD, FAR))
@example(calculator=RelativeTime(60), timestamp=-0.5)
@example(calculator=RelativeTime(60), timestamp=-5e-324)
@example(calculator=GregorianTime("yearly"), timestamp=-0.001)
def test_floats_are_rounded_down(calculator: Calculator, timestamp: float) -> None:
    below = Fraction(timestamp) // 1
    assert whole_seconds(timestamp) == below
    assert calculator.to_bucket(timestamp) == bucket_by_calendar(calculator, below)


def zones() -> Iterator[Any]:
    """Yield time zones, fixed ones and those of places."""
    yield UTC
    for offset in (-86_399, -12 * 3600, -1, 1234, 19_800, 14 * 3600, 86_399):
        yield timezone(timedelta(seconds=offset))
    for name in ZONES:
        try:
            yield ZoneInfo(name)
        except ZoneInfoNotFoundError:  # this machine has no time zone data
            return


@given(
    calculator=calculators,
    when=st.datetimes(
        datetime(1900, 1, 2),
        datetime(2200, 12, 30),
        timezones=st.sampled_from(list(zones())),
    ),
)
def test_aware_datetimes(zone: str, calculator: Calculator, when: datetime) -> None:
    offset = when.utcoffset()
    assert offset is not None
    in_utc = when.replace(tzinfo=UTC) - offset
    timestamp = (in_utc - EPOCH) // SECOND
    assert whole_seconds(when) == timestamp
    assert calculator.to_bucket(when) == bucket_by_calendar(calculator, timestamp)
    assert calculator.normalize(when) == calculator.normalize(timestamp)
    assert calculator.buckets(when, when) == [calculator.to_bucket(timestamp)]


def test_datetimes_at_the_ends_of_the_calendar() -> None:
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    assert whole_seconds(datetime.min.replace(tzinfo=east)) == FIRST - 14 * 3600
    assert whole_seconds(datetime.max.replace(tzinfo=west)) == LAST + 12 * 3600


@given(when=st.datetimes())
def test_naive_datetimes_are_refused(when: datetime) -> None:
    with pytest.raises(InvalidValue, match="is naive"):
        RelativeTime(60).to_bucket(when)


@pytest.mark.parametrize("timestamp", [Decimal("-1.5"), Fraction(-3, 2), -1.5])
def test_other_real_numbers(timestamp: Any) -> None:
    assert whole_seconds(timestamp) == -2


@pytest.mark.parametrize(
    "timestamp", [math.nan, math.inf, -math.inf, Decimal("nan"), Decimal("-inf")]
)
def test_no_point_in_time(timestamp: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a point in time") as caught:
        whole_seconds(timestamp)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("timestamp", ["now", "1", b"1", None, [], date(2013, 3, 5), 1j])
def test_no_timestamp(timestamp: Any) -> None:
    with pytest.raises(InvalidType, match="timestamp must be") as caught:
        GregorianTime("daily").to_bucket(timestamp)
    assert repr(timestamp) in str(caught.value)
    assert isinstance(caught.value, TypeError)


# --- sizes and retention -----------------------------------------------------------------------------


@given(calculator=calculators, start=seconds, length=st.integers(0, 10**9))
def test_step_size(calculator: Calculator, start: int, length: int) -> None:
    assert calculator.step_size() == calculator.seconds
    end = min(start + length, LAST)
    if start <= end:
        bounds = calculator.normalize(start), calculator.bounds(end)[1]
        assert calculator.step_size(start, end) == bounds[1] - bounds[0]


def test_million_buckets_are_refused() -> None:
    seconds = RelativeTime(1)
    assert len(seconds.buckets(1, MAX_BUCKETS - 1)) == MAX_BUCKETS - 1
    with pytest.raises(TooManyBuckets, match="a million buckets of 1 seconds"):
        seconds.buckets(1, MAX_BUCKETS)
    # They can be iterated over, without an end.
    assert next(seconds.iterate(-(10**18), 10**18)) == -(10**18)


@given(calculator=calculators, steps=st.integers(0, 10**6), moved=st.integers(-500, 500))
def test_ttl_counts_whole_buckets(calculator: Calculator, steps: int, moved: int) -> None:
    now = 1_362_486_896
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 0.75)
        whole = steps * calculator.seconds
        assert calculator.ttl(steps) == calculator.ttl(steps, now) == whole
        try:
            timestamp = calculator.normalize(now, moved)
        except InvalidValue:
            return
        left = whole + timestamp - calculator.normalize(now)
        assert calculator.ttl(steps, timestamp) == max(0, left)
        # Wherever in its bucket the data is.
        assert calculator.ttl(steps, calculator.bounds(timestamp)[1] - 1) == max(0, left)


def recorded_ttls() -> Iterator[Any]:
    """Yield (configuration, bucket, now, ttl) of every key that the original was recorded to write."""
    data = Path(__file__).parents[1] / "parity" / "data" / "redis.json"
    for line in data.read_text(encoding="utf-8").splitlines():
        if not line.startswith("{"):
            continue
        case = json.loads(line.rstrip(","))
        if case["version"] != "0.10.1" or not case["frozen_now"]:
            continue
        ((name, config),) = case["config"]["intervals"].items()
        for key, stored in case["stored"].items():
            bucket = int(key.split(f":{name}:")[1].split(":")[0])
            yield pytest.param(
                config, bucket, case["frozen_now"], stored["ttl"], id=f"{case['type']}-{key}"
            )


@pytest.mark.parametrize(("config", "bucket", "now", "ttl"), list(recorded_ttls()))
def test_recorded_ttls(
    config: dict[str, Any], bucket: int, now: int, ttl: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    interval = Interval("recorded", config)
    assert interval.ttl(interval.i_calc.from_bucket(bucket)) == ttl


# --- steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (60, 60),
        ("60", 60),
        (" 60 ", 60),
        (60.0, 60),
        (1, 1),
        ("30s", 30),
        ("5min", 300),
        ("5 min", 300),
        ("1h", 3600),
        ("2d", 2 * DAY),
        ("1w", 7 * DAY),
        ("1W", 7 * DAY),
        ("1m", 30 * DAY),
        ("1y", 365 * DAY),
        (timedelta(minutes=5), 300),
        (timedelta.max - timedelta(microseconds=999_999), 86_399_999_999_999),
        ("daily", "daily"),
        ("Weekly", "weekly"),
        ("monthly", "monthly"),
        ("yearly", "yearly"),
    ],
)
def test_parse_step(step: Any, seconds: int | str) -> None:
    parsed = parse_step(step)
    assert parsed == seconds
    assert type(parsed) is type(seconds)


@given(number=st.integers(1, 10**12), unit=st.sampled_from(["", "s", "min", "h", "d", "w", "m", "y"]))
def test_parse_step_with_units(number: int, unit: str) -> None:
    size = parse_step(f"1{unit}")
    assert isinstance(size, int)
    assert parse_step(f"{number}{unit}") == number * size


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (0, "must be greater than 0"),
        (-60, "must be greater than 0"),
        ("0h", "must be greater than 0"),
        ("-1d", "must be greater than 0"),
        (timedelta(0), "must be greater than 0"),
        (timedelta(days=-1), "must be greater than 0"),
        (1.5, "is not a whole number of seconds"),
        (timedelta(milliseconds=1500), "is not a whole number of seconds"),
        (timedelta.max, "is not a whole number of seconds"),
        (math.nan, "is not understood"),
        (math.inf, "is not understood"),
        ("", "is not understood"),
        ("h", "is not understood"),
        ("1.5h", "is not understood"),
        ("1 fortnight", "is not understood"),
        ("hourly", "is not understood"),
        ("\N{ARABIC-INDIC DIGIT SIX}", "is not understood"),
        ("9" * 5000, "is not understood"),
        (True, "is not understood"),
        (b"60", "is not understood"),
        ([60], "is not understood"),
        ({"step": 60}, "is not understood"),
    ],
)
@pytest.mark.parametrize("key", ["step", "resolution"])
def test_bad_step(step: Any, reason: str, key: str) -> None:
    with pytest.raises(InvalidInterval, match=reason) as caught:
        Interval("hits", {"step": "1y", key: step})
    assert str(caught.value).startswith(f"interval 'hits': {key} {step!r} ")
    assert isinstance(caught.value, ValueError)


def test_huge_step() -> None:
    assert parse_step(10**400) == 10**400


# --- the configuration of an interval ----------------------------------------------------------------


def test_historical_keys() -> None:
    config = {"step": "1h", "steps": "48", "resolution": 60}
    interval = Interval("hour", MappingProxyType(config))
    assert set(interval) == {
        "interval",
        "step",
        "steps",
        "resolution",
        "i_calc",
        "r_calc",
        "expire",
        "ttl",
        "coarse",
    }
    assert len(interval) == 9
    assert dict(interval) == {key: getattr(interval, key) for key in interval}
    assert interval["interval"] == "hour"
    assert (interval["step"], interval["steps"], interval["resolution"]) == (3600, 48, 60)
    assert interval["expire"] == 48 * 3600 == interval["ttl"]()
    assert interval["coarse"] is False
    assert isinstance(interval["i_calc"], RelativeTime)
    assert interval["r_calc"].to_bucket(61) == 1
    assert interval.get("nothing") is None
    with pytest.raises(KeyError):
        interval["seconds"]
    assert isinstance(interval, Mapping)
    with pytest.raises(TypeError):
        interval["step"] = 60  # type: ignore[index]
    assert config == {"step": "1h", "steps": "48", "resolution": 60}
    assert repr(interval) == "Interval('hour', step=3600, steps=48, resolution=60)"


@pytest.mark.parametrize(
    ("config", "coarse"),
    [
        ({"step": 60}, True),
        ({"step": 60, "resolution": None}, True),
        ({"step": 60, "resolution": "60"}, True),
        ({"step": "1h", "resolution": "60min"}, True),
        ({"step": "daily", "resolution": "daily"}, True),
        ({"step": "daily", "resolution": "1h"}, False),
        ({"step": "daily", "resolution": "1d"}, False),
        ({"step": "1w", "resolution": "daily"}, False),
        ({"step": "yearly", "resolution": "weekly"}, False),
        ({"step": 60, "resolution": 45}, False),
    ],
)
def test_coarse(config: dict[str, Any], coarse: bool) -> None:
    interval = Interval("mixed", config)
    assert interval.coarse is coarse
    assert (interval.r_calc is interval.i_calc) is coarse


@pytest.mark.parametrize("steps", [None, 0, "0"])
def test_kept_for_ever(steps: Any) -> None:
    interval = Interval("ever", {"step": 60, "steps": steps})
    assert interval.steps is interval.expire is None


def test_interval_of_an_interval() -> None:
    first = Interval("one", {"step": "daily", "steps": 7, "resolution": "1h"})
    second = Interval("two", first)
    assert (second.step, second.steps, second.resolution) == ("daily", 7, 3600)


@pytest.mark.parametrize(
    ("name", "config", "error", "reason"),
    [
        ("m", {}, MissingStep, "interval 'm' has no 'step'"),
        ("m", {"step": None}, MissingStep, "interval 'm' has no 'step'"),
        ("m", {"step": 60, "resolution": 61}, InvalidInterval, "resolution 61 is larger than step 60"),
        ("m", {"step": "daily", "resolution": "weekly"}, InvalidInterval, "larger than step 'daily'"),
        ("m", {"step": 60, "steps": -1}, InvalidInterval, "steps -1 must not be negative"),
        ("m", {"step": 60, "steps": 1.5}, InvalidInterval, "steps 1.5 is not a whole number"),
        ("m", {"step": 60, "steps": "many"}, InvalidInterval, "steps 'many' is not a whole number"),
        ("m", {"step": 60, "steps": True}, InvalidInterval, "steps True is not a whole number"),
        ("m", {"step": 60, "steps": math.inf}, InvalidInterval, "steps inf is not a whole number"),
        ("m", {"step": "1y", "steps": 10**10}, InvalidInterval, "interval 'm': no store keeps"),
        ("m", 60, InvalidType, "interval 'm' must be a mapping"),
        ("m", None, InvalidType, "interval 'm' must be a mapping"),
        ("", {"step": 60}, InvalidValue, "the name of an interval must not be empty"),
        ("a\0b", {"step": 60}, InvalidValue, "contains NUL"),
        (60, {"step": 60}, InvalidType, "the name of an interval must be a string, not 60"),
        (("m",), {"step": 60}, InvalidType, "the name of an interval must be a string"),
    ],
)
def test_bad_interval(name: Any, config: Any, error: type[KairosException], reason: str) -> None:
    with pytest.raises(error, match=reason):
        Interval(name, config)
    builtins = {InvalidType: TypeError, MissingStep: KeyError}
    assert issubclass(error, builtins.get(error, ValueError))


def test_unknown_keys_warn_with_the_nearest() -> None:
    with pytest.warns(UserWarning, match="unknown") as caught:
        Interval("m", {"step": 60, "stepz": 5, "resolutoin": 60})
    assert [str(warning.message) for warning in caught] == [
        "interval 'm': key 'stepz' is unknown; did you mean 'step'?",
        "interval 'm': key 'resolutoin' is unknown; did you mean 'resolution'?",
    ]


# --- names -------------------------------------------------------------------------------------------


class Color(str, Enum):
    """An enumeration of names, as applications have them."""

    RED = "red"


def test_names_become_plain_text() -> None:
    for name in (Color.RED, "a:*?[b]\n", "\N{SNOWMAN}", " "):
        checked = check_name(name, "name")
        assert type(checked) is str
        assert checked == name
    assert f"{check_name(Color.RED, 'name')}" == "red"
    assert Interval(Color.RED, {"step": 60}).interval.__class__ is str


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("", InvalidValue, "must not be empty"),
        ("a\0", InvalidValue, "contains NUL"),
        ("\N{SNOWMAN}\0", InvalidValue, "contains NUL"),
        ("\ud800", InvalidValue, "cannot be encoded"),
        (b"bytes", InvalidType, "must be a string, not b'bytes'"),
        ({"$gt": ""}, InvalidType, r"must be a string, not \{'\$gt': ''\}"),
        (None, InvalidType, "must be a string, not None"),
    ],
)
def test_bad_names(name: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        check_name(name, "name")


# --- schedules ---------------------------------------------------------------------------------------

CONFIGS: dict[str, dict[str, Any]] = {
    "minute": {"step": 60, "steps": 120},
    "hour": {"step": 3600, "resolution": 60, "steps": 48},
    "day": {"step": "daily", "resolution": "1h"},
    "week": {"step": "weekly", "resolution": "daily"},
    "month": {"step": "monthly", "resolution": "weekly", "steps": 3},
    "odd": {"step": 100, "resolution": 37},
    "year": {"step": "yearly"},
}


def intervals(names: Any) -> dict[str, Interval]:
    """Return some of the intervals."""
    return {name: Interval(name, CONFIGS[name]) for name in names}


@given(
    names=st.lists(st.sampled_from(sorted(CONFIGS)), min_size=1, unique=True),
    timestamps=st.lists(st.one_of(seconds, st.integers(0, 200)), min_size=1, max_size=30),
    now=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_schedule_places_as_the_calculators_do(
    names: list[str], timestamps: list[int], now: list[bool]
) -> None:
    chosen = intervals(names)
    schedule = Schedule(chosen)
    for timestamp, current in zip(timestamps, now, strict=False):
        placement = schedule.now(timestamp) if current else schedule.place(timestamp)
        assert placement.start <= timestamp < placement.end
        for at in {placement.start, timestamp, placement.end - 1}:
            if not FIRST <= at <= LAST:
                continue
            for target, config in zip(placement.targets, chosen.values(), strict=True):
                assert target.interval is config
                assert target.at is None
                assert target.i_bucket == bucket_by_calendar(config.i_calc, at)
                assert target.i_start == config.i_calc.normalize(at)
                assert target.r_bucket == (
                    None if config.coarse else bucket_by_calendar(config.r_calc, at)
                )


def test_schedule_repeats_itself() -> None:
    schedule = Schedule(intervals(["minute", "day"]))
    first = schedule.place(120)
    assert schedule.place(179) is first
    assert schedule.place(180) is not first
    # Old data and the current time do not displace each other.
    now = schedule.now(10**9)
    old = schedule.place(0)
    assert schedule.now(10**9 + 1) is now
    assert schedule.place(10**9) is now
    assert schedule.place(59) is old


@given(timestamp=st.integers(OLD, FAR), steps=st.integers(-30, 30))
def test_shifted_targets_lie_at_the_start_of_their_steps(timestamp: int, steps: int) -> None:
    chosen = intervals(CONFIGS)
    for target in Schedule(chosen).shifted(timestamp, steps):
        config = target.interval
        assert target.at == target.i_start == config.i_calc.normalize(timestamp, steps)
        assert target.i_bucket == config.i_calc.to_bucket(timestamp, steps)
        assert target.r_bucket == (None if config.coarse else config.r_calc.to_bucket(target.at))


def test_threads_share_calculators() -> None:
    calculators: list[Calculator] = [RelativeTime(60), *map(GregorianTime, GREGORIAN)]
    schedule = Schedule(intervals(["minute", "week"]))
    wrong: list[Any] = []

    def work(offset: int) -> None:
        for turn in range(2000):
            timestamp = (turn * 7919 + offset * 104_729) * 997 % 10**9
            for calculator in calculators:
                start, end, bucket = calculator.bounds(timestamp)
                if not start <= timestamp < end or bucket != bucket_by_calendar(calculator, start):
                    wrong.append((calculator, timestamp))
            placement = schedule.place(timestamp)
            if placement.targets[0].i_bucket != timestamp // 60:
                wrong.append((schedule, timestamp))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_public_names() -> None:
    assert kairos.timeseries.RelativeTime is RelativeTime
    assert kairos.timeseries.GregorianTime is GregorianTime
    with pytest.raises(InvalidInterval, match="unknown Gregorian step 'hourly'"):
        GregorianTime("hourly")
    assert repr(RelativeTime(60)) == "RelativeTime(60)"
    assert repr(GregorianTime()) == "GregorianTime('daily')"
    assert pickle.loads(pickle.dumps(GregorianTime("weekly"))).to_bucket(0) == 197000


def test_known_keys_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Interval("m", {"step": 60, "steps": 5, "resolution": 30})
