"""The stages of a read and the folding of writes, against slow and obvious implementations of both."""

from __future__ import annotations

import copy
import functools
import operator
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos import pipeline
from kairos.exceptions import DamagedData, InvalidType, InvalidValue, UnknownTransform
from kairos.intervals import GregorianTime, Interval, Schedule
from kairos.pipeline import (
    Batch,
    ReadPlan,
    Stages,
    check_transform,
    compile_transform,
    finish,
    group_writes,
    lifetimes,
    needed_partials,
    spread_out,
    time_to_live,
)
from kairos.types import COUNT, GAUGE, HISTOGRAM, SERIES, SET, Algebra
from tests.support.memory_backend import Memory, MemoryBackend

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FORMATS = {"daily": "%Y%m%d", "weekly": "%Y%U", "monthly": "%Y%m", "yearly": "%Y"}
ALGEBRAS: dict[str, Algebra] = {
    "series": SERIES,
    "histogram": HISTOGRAM,
    "count": COUNT,
    "gauge": GAUGE,
    "set": SET,
}
CONFIGS: list[dict[str, Any]] = [
    {"step": 60},
    {"step": "weekly"},
    {"step": 3600, "resolution": 900},
    # The resolution buckets reach over the ends of the steps.
    {"step": 100, "resolution": 37},
    {"step": "daily", "resolution": "6h"},
    {"step": "monthly", "resolution": "weekly"},
    {"step": "yearly", "resolution": "monthly"},
]
every_type = pytest.mark.parametrize("kind", ALGEBRAS)

# --- a slow, obvious read ------------------------------------------------------------------------------


def length_of(step: int | str, start: int) -> int:
    """Return the seconds of the bucket that starts at a second."""
    if isinstance(step, int):
        return step
    end = start

    def label(timestamp: int) -> str:
        return (EPOCH + timedelta(seconds=timestamp)).strftime(FORMATS[step])

    while label(end) == label(start):
        end += 86400
    return end - start


def merge_rows(kind: str, rows: list[Any]) -> Any:
    """Return what the built-in condense, join_rows and collapse make of rows."""
    if kind == "series":
        return [value for row in rows for value in row]
    if kind == "histogram":
        total: Counter[Any] = Counter()
        for row in rows:
            total.update(row)
        return dict(total)
    if kind == "count":
        return sum(rows)
    if kind == "set":
        return {value for row in rows for value in row}
    return ([None] + [row for row in rows if row is not None])[-1]


def named(kind: str, name: str, row: Any, seconds: int) -> Any:
    """Return what a named transform makes of a row."""
    if kind == "gauge" or (kind == "count" and name != "rate"):
        return row
    if kind == "count":
        return row / seconds
    if kind == "histogram" and name == "rate":
        return {value: count / seconds for value, count in row.items()}
    values = list(Counter(row).elements()) if kind == "histogram" else list(row)
    if name in ("mean", "min", "max") and not values:
        return 0
    functions: dict[str, Callable[[list[Any]], Any]] = {
        "mean": lambda its: sum(its) / len(its),
        "count": len,
        "min": min,
        "max": max,
        "sum": sum,
        "rate": lambda its: len(its) / seconds,
    }
    return functions[name](values)


class Reader:
    """Answer a read as the specification words it, over ``{name: {i_time: {r_time or None: raw}}}``."""

    def __init__(
        self, kind: str, interval: Interval, starts: list[int], names: list[str], hooks: Mapping[str, Any]
    ) -> None:
        self.kind = kind
        self.interval = interval
        self.starts = starts
        self.names = names
        self.hooks = hooks

    def read(self, data: Mapping[str, Any], joined: bool, single: bool) -> Any:
        """Return what ``get`` or ``series`` returns."""
        condense, collapse = self.hooks["condense"], self.hooks["collapse"]
        coarse = self.interval.coarse
        result: Any = OrderedDict()
        holding = []
        for start in self.starts:
            cells = [
                {at: self.hooks["process_row"](raw) for at, raw in data.get(name, {}).get(start, {}).items()}
                for name in self.names
            ]
            if coarse:
                result[start] = self.coarse(cells, joined)
            elif condense or collapse:
                result[start] = self.condensed(cells, joined)
            else:
                result[start] = self.resolutions(cells, joined)
            if any(cells) or (joined and callable(self.hooks["join_rows"])):
                holding.append(result[start])
        seconds = {start: length_of(self.interval.step, start) for start in self.starts}
        if collapse:
            function = next((hook for hook in (collapse, condense) if callable(hook)), None)
            first, last = self.starts[0], self.starts[-1]
            row = function(result) if function else merge_rows(self.kind, holding)
            return OrderedDict([(first, self.transformed(row, last + seconds[last] - first))])
        if coarse or condense:
            return OrderedDict(
                (start, self.transformed(row, seconds[start])) for start, row in result.items()
            )
        for start, nested in result.items():
            result[start] = OrderedDict(
                (at, self.transformed(row, length_of(self.interval.resolution, at)))
                for at, row in nested.items()
            )
        return result[self.starts[0]] if single else result

    def join(self, rows: list[Any], there: list[bool]) -> Any:
        """Return one row out of those of all names."""
        if callable(self.hooks["join_rows"]):
            return self.hooks["join_rows"](rows)
        return merge_rows(self.kind, [row for row, here in zip(rows, there, strict=True) if here])

    def empty(self) -> Any:
        """Return what stands for an interval without data."""
        return empty_of(self.kind)

    def coarse(self, cells: list[Any], joined: bool) -> Any:
        """Return the row of an interval that has no resolutions."""
        rows = [cell[None] if cell else self.empty() for cell in cells]
        return self.join(rows, list(map(bool, cells))) if joined else rows[0]

    def condensed(self, cells: list[Any], joined: bool) -> Any:
        """Return the one row that an interval with resolutions is condensed to."""
        condense = self.hooks["condense"]
        if not callable(condense) and not (joined and callable(self.hooks["join_rows"])):
            times = sorted({at for cell in cells for at in cell})
            return merge_rows(self.kind, [cell[at] for at in times for cell in cells if at in cell])
        rows = []
        for cell in cells:
            if not cell and (joined or not callable(condense)):
                rows.append(self.empty())
            elif callable(condense):
                rows.append(condense(OrderedDict(sorted(cell.items()))))
            else:
                rows.append(merge_rows(self.kind, [row for _, row in sorted(cell.items())]))
        return self.join(rows, list(map(bool, cells))) if joined else rows[0]

    def resolutions(self, cells: list[Any], joined: bool) -> Any:
        """Return the rows of an interval by resolution."""
        times = sorted({at for cell in cells for at in cell})
        if not joined:
            return OrderedDict((at, cells[0][at]) for at in times)
        return OrderedDict(
            (at, self.join([cell.get(at) for cell in cells], [at in cell for cell in cells]))
            for at in times
        )

    def transformed(self, row: Any, seconds: int) -> Any:
        """Return what the transforms make of a row that is returned."""
        transform = self.hooks["transform"]
        if transform is None:
            return row
        if isinstance(transform, dict):
            return {key: self.one(each, row, seconds) for key, each in transform.items()}
        if isinstance(transform, (list, tuple, set)):
            return {each: self.one(each, row, seconds) for each in transform}
        return self.one(transform, row, seconds)

    def one(self, transform: Any, row: Any, seconds: int) -> Any:
        """Return what one transform makes of a row."""
        if isinstance(transform, str):
            return named(self.kind, transform, row, seconds)
        return transform(row, seconds) if transform is timed else transform(row)


def empty_of(kind: str) -> Any:
    """Return the empty value of a type; that of a gauge is what a read_func may make of nothing."""
    return {"series": [], "histogram": {}, "count": 0, "gauge": "unset", "set": set()}[kind]


def row_of(kind: str, numbers: list[int]) -> Any:
    """Return a row of a type that holds some numbers."""
    if kind == "series":
        return list(numbers)
    if kind == "histogram":
        return dict(Counter(numbers))
    if kind == "count":
        return sum(numbers)
    if kind == "gauge":
        return numbers[-1]
    return set(numbers)


class Hook:
    """Stand for a caller's function: remember what it was given, and make a row that tells it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.calls: list[Any] = []

    def __call__(self, argument: Any) -> Any:
        """Note the call."""
        self.calls.append(copy.deepcopy(argument))
        if isinstance(argument, tuple):
            return argument[1]
        if isinstance(argument, Mapping):
            assert type(argument) is OrderedDict
            return row_of(self.kind, [*argument, len(argument)])
        return row_of(self.kind, [index for index, row in enumerate(argument) if row is not None] + [7])


def timed(row: Any, duration: float) -> Any:
    """Show that a callable is given the duration."""
    return "timed", row, duration


def plain(row: Any) -> Any:
    """Show that a callable is given the row."""
    return "plain", row


TRANSFORMS: list[Any] = [
    None,
    "count",
    "rate",
    "sum",
    plain,
    timed,
    ["mean", "min", timed],
    ("max",),
    {"count", plain},
    {"first": "sum", "second": timed, "third": plain},
]


@st.composite
def reads(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what is stored, what is asked, and how."""
    kind = draw(st.sampled_from(sorted(ALGEBRAS)))
    interval = Interval("drawn", draw(st.sampled_from(CONFIGS)))
    single = draw(st.booleans())
    joined = draw(st.booleans())
    names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3)) if joined else ["a"]
    start = draw(st.one_of(st.integers(-(10**9), 2 * 10**9), st.just(1_388_361_600)))
    starts = [interval.i_calc.normalize(start)]
    for _ in range(0 if single else draw(st.integers(0, 3))):
        starts.append(interval.i_calc.bounds(starts[-1])[1])
    data: dict[str, dict[int, dict[int | None, Any]]] = {}
    for name in "ab":
        for begin in starts:
            if interval.coarse:
                times: list[int | None] = [None] if draw(st.booleans()) else []
            else:
                end = interval.i_calc.bounds(begin)[1]
                possible = [
                    interval.r_calc.from_bucket(bucket)
                    for bucket in interval.r_calc.buckets(begin, end - 1)
                ]
                times = list(draw(st.lists(st.sampled_from(possible), max_size=3, unique=True)))
            for at in times:
                numbers = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
                data.setdefault(name, {}).setdefault(begin, {})[at] = row_of(kind, numbers)
    return {
        "kind": kind,
        "interval": interval,
        "starts": starts,
        "names": names,
        "joined": joined,
        "single": single,
        "data": data,
        "condense": draw(st.sampled_from([None, False, True, "hook"])),
        "join_rows": draw(st.sampled_from([None, "hook"])),
        "collapse": None if single else draw(st.sampled_from([None, False, True, "hook"])),
        "transform": draw(st.sampled_from(TRANSFORMS)),
    }


@given(read=reads())
@settings(max_examples=400)
def test_finish(read: dict[str, Any]) -> None:
    kind, interval, names = read["kind"], read["interval"], read["names"]
    hooks: list[dict[str, Any]] = []
    for _ in range(2):
        its: dict[str, Any] = {
            stage: Hook(kind) if read[stage] == "hook" else read[stage]
            for stage in ("condense", "join_rows", "collapse")
        }
        its["process_row"] = Hook(kind)
        its["transform"] = read["transform"]
        hooks.append(its)
    raws = {
        name: {start: {at: ("raw", row) for at, row in cell.items()} for start, cell in table.items()}
        for name, table in read["data"].items()
    }
    expected = Reader(kind, interval, read["starts"], names, hooks[0]).read(
        copy.deepcopy(raws), read["joined"], read["single"]
    )
    i_calc, r_calc = interval.i_calc, interval.r_calc
    rows: Any = {
        name: {
            i_calc.to_bucket(start): {
                None if at is None else r_calc.to_bucket(at): raw for at, raw in cell.items()
            }
            for start, cell in table.items()
        }
        for name, table in raws.items()
    }
    before = copy.deepcopy(rows)
    plan = ReadPlan(
        names, read["joined"], interval, [i_calc.to_bucket(at) for at in read["starts"]], read["single"]
    )
    result = finish(
        rows, plan, Stages(**hooks[1]), ALGEBRAS[kind], lambda: empty_of(kind), lambda *_: "nowhere"
    )
    assert result == expected
    assert type(result) is OrderedDict
    for hook in ("condense", "join_rows", "collapse"):
        if read[hook] == "hook":
            assert hooks[1][hook].calls == hooks[0][hook].calls
    # What was fetched is never changed.
    assert rows == before


def plan_of(config: dict[str, Any], names: list[str], starts: list[int], **more: Any) -> ReadPlan:
    """Return a plan to read some names."""
    interval = Interval("its", config)
    buckets = [interval.i_calc.to_bucket(start) for start in starts]
    return ReadPlan(names, len(names) > 1, interval, buckets, more.pop("single", False), **more)


def finished(rows: Any, plan: ReadPlan, kind: str = "series", **stages: Any) -> Any:
    """Return the end of a read."""
    stages.setdefault("process_row", lambda raw: raw)
    algebra = ALGEBRAS[kind]
    return finish(rows, plan, Stages(**stages), algebra, algebra.empty, lambda *place: repr(place))


def test_condensed_join_is_by_time_first() -> None:
    rows = {"a": {0: {0: [1], 1: [3]}}, "b": {0: {0: [2], 1: [4]}}}
    plan = plan_of({"step": 120, "resolution": 60}, ["a", "b"], [0])
    assert finished(rows, plan, condense=True) == {0: [1, 2, 3, 4]}
    # One that is the caller's own is given each name by itself.
    assert finished(rows, plan, condense=True, join_rows=list) == {0: [[1, 3], [2, 4]]}


def test_callable_condense_and_empty_intervals() -> None:
    rows = {"a": {0: {0: [1]}}}
    config = {"step": 120, "resolution": 60}
    assert finished(rows, plan_of(config, ["a"], [0, 120]), condense=len) == {0: 1, 120: 0}
    joined = finished(rows, plan_of(config, ["a", "b"], [0, 120]), condense=len, join_rows=list)
    assert joined == {0: [1, []], 120: [[], []]}


def test_damaged_rows_are_named() -> None:
    def process(raw: Any) -> Any:
        if raw == "broken":
            raise DamagedData("not a list")
        return raw

    rows: Any = {"a": {0: {0: [1]}}, "b": {0: {0: [1]}, 1: {2: "broken"}}}
    plan = plan_of({"step": 120, "resolution": 60}, ["a", "b"], [0, 120])
    with pytest.raises(DamagedData, match="^nowhere b 1 2: not a list$"):
        finish(
            rows,
            plan,
            Stages(process),
            SERIES,
            list,
            lambda name, interval, i_bucket, r_bucket: f"nowhere {name} {i_bucket} {r_bucket}",
        )


def test_process_row_is_not_called_for_nothing() -> None:
    called: list[Any] = []
    plan = plan_of({"step": 60}, ["a"], [0, 60])
    result = finished({}, plan, process_row=called.append)
    assert result == {0: [], 60: []}
    assert result[0] is not result[60]
    assert not called


# --- transforms ------------------------------------------------------------------------------------------


class Callable2:
    """Be called with two arguments, as an instance."""

    def __call__(self, row: Any, seconds: float) -> Any:
        """Return both."""
        return row, seconds

    def method(self, row: Any) -> Any:
        """Return the row."""
        return row

    def timed(self, row: Any, *, duration: float) -> Any:
        """Return both."""
        return row, duration

    def __bool__(self) -> bool:
        """Be false, which must not matter."""
        return False


def by_place(row: Any, duration: float = 0, /) -> Any:
    """Take the duration by place only."""
    return row, duration


def with_extra(row: Any, scale: int = 2) -> Any:
    """Take no duration: the second parameter is optional."""
    return row, scale


def extra_and_duration(row: Any, scale: int = 2, duration: float = 0) -> Any:
    """Take the duration by name."""
    return row, scale, duration


def anything(*rows: Any, **keywords: Any) -> Any:
    """Take whatever comes."""
    return rows, keywords


def row_named_duration(duration: Any) -> Any:
    """Take the row, under a misleading name."""
    return duration


ROW = [3, 1, 2]


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (lambda row: row, ROW),
        (lambda row, seconds: (row, seconds), (ROW, 60)),
        (lambda row, duration: (row, duration), (ROW, 60)),
        (lambda row, duration=None: (row, duration), (ROW, 60)),
        (lambda row, *, duration: (row, duration), (ROW, 60)),
        (lambda row, *, seconds=1: (row, seconds), (ROW, 1)),
        (by_place, (ROW, 60)),
        (with_extra, (ROW, 2)),
        (extra_and_duration, (ROW, 2, 60)),
        (anything, ((ROW,), {})),
        (row_named_duration, ROW),
        (len, 3),
        (max, 3),
        (min, 1),
        (sum, 6),
        (sorted, [1, 2, 3]),
        (set, {1, 2, 3}),
        (tuple, (3, 1, 2)),
        (str, "[3, 1, 2]"),
        (functools.partial(sorted, reverse=True), [3, 2, 1]),
        (functools.partial(lambda scale, row: (scale, row), 5), (5, ROW)),
        (functools.partial(lambda scale, row, duration: (scale, row, duration), 5), (5, ROW, 60)),
        (operator.itemgetter(0), 3),
        (Callable2(), (ROW, 60)),
        (Callable2().method, ROW),
        (Callable2().timed, (ROW, 60)),
        ("count", 3),
        ("rate", 3 / 60),
        (["count", "max"], {"count": 3, "max": 3}),
        (("min",), {"min": 1}),
        ({"sum"}, {"sum": 6}),
        (frozenset({"sum"}), {"sum": 6}),
        ([len, "count"], {len: 3, "count": 3}),
        ({"low": min, "per second": "rate", 5: lambda row, duration: duration},
         {"low": 1, "per second": 0.05, 5: 60}),
    ],
)
def test_transform(transform: Any, expected: Any) -> None:
    check_transform(transform)
    function = compile_transform(transform, SERIES)
    assert function is not None
    assert function(list(ROW), 60) == expected


@pytest.mark.parametrize("transform", [None, [], (), {}, set()])
def test_no_transform(transform: Any) -> None:
    assert compile_transform(transform, SERIES) is None


@pytest.mark.parametrize("transform", ["median", ["count", "median"], {"sum": "median"}, ("median", len)])
def test_unknown_transform(transform: Any) -> None:
    with pytest.raises(
        UnknownTransform,
        match="transform 'median' is unknown: use one of mean, count, min, max, sum, rate",
    ) as caught:
        check_transform(transform)
    assert isinstance(caught.value, (ValueError, KeyError))


@pytest.mark.parametrize("transform", [5, [5], {"five": 5}, True, b"sum"])
def test_no_transform_at_all(transform: Any) -> None:
    with pytest.raises(InvalidType, match="a transform must be a name or a callable"):
        check_transform(transform)


def test_names_that_only_other_types_know() -> None:
    for algebra, names in ((COUNT, ["mean", "count", "min", "max", "sum"]), (GAUGE, ["sum", "rate"])):
        for name in names:
            function = compile_transform(name, algebra)
            assert function is not None
            assert function(5, 60) == 5


@pytest.mark.parametrize(
    ("transform", "needed"),
    [
        (None, None),
        ([], None),
        (len, None),
        (["count", len], None),
        ("count", {"count"}),
        ("mean", {"sum", "count"}),
        (["min", "max"], {"min", "max"}),
        ({"x": "rate"}, {"count"}),
    ],
)
def test_needed_partials(transform: Any, needed: set[str] | None) -> None:
    assert needed_partials(transform) == needed


# --- writing ---------------------------------------------------------------------------------------------

NOW = 1_388_361_600
INTERVALS: dict[str, dict[str, Any]] = {
    "minute": {"step": 60, "steps": 5},
    "hour": {"step": 3600, "resolution": 60, "steps": 2},
    "week": {"step": "weekly", "resolution": "daily", "steps": 2},
    "month": {"step": "monthly"},
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "series": st.integers(0, 9),
    "histogram": st.integers(0, 3),
    "count": st.one_of(st.integers(-9, 9), st.integers(-80, 80).map(lambda n: n / 8)),
    "gauge": st.integers(0, 9),
    "set": st.integers(0, 3),
}


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock at NOW."""
    monkeypatch.setattr(time, "time", lambda: NOW + 0.5)


def new(kind: str, **options: Any) -> Any:
    """Return a series in a memory of its own."""
    return MemoryBackend(Memory(), type=kind, intervals=INTERVALS, **options)


@every_type
@given(data=st.data(), steps=st.integers(-3, 3), streamed=st.booleans())
@settings(max_examples=60)
def test_bulk_insert_is_one_by_one(
    kind: str, data: st.DataObject, steps: int, streamed: bool, frozen: None
) -> None:
    near = st.one_of(st.none(), st.integers(-400, 400), st.integers(-(10**7), 10**7))
    inserts = data.draw(
        st.dictionaries(
            near.map(lambda moment: None if moment is None else NOW + moment),
            st.dictionaries(st.sampled_from("ab"), st.lists(VALUES[kind], max_size=4)),
            max_size=8,
        )
    )
    untouched = copy.deepcopy(inserts)
    one, bulk = new(kind), new(kind)
    for timestamp, names in inserts.items():
        for name, values in names.items():
            for value in values:
                one.insert(name, value, timestamp=timestamp, intervals=steps)
    if streamed:
        entries = (
            (timestamp, name, value)
            for timestamp, names in inserts.items()
            for name, values in names.items()
            for value in values
        )
        bulk.bulk_insert(entries, intervals=steps)
    else:
        bulk.bulk_insert(inserts, intervals=steps)
    # Rows, their order, and the times at which they expire.
    assert bulk._client.tables == one._client.tables
    assert inserts == untouched


class Sent:
    """Keep the writes that reach a backend."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.series = new(kind)
        self.calls: list[list[pipeline.Group]] = []
        monkeypatch.setattr(
            type(self.series), "_write", lambda series, groups, handle: self.calls.append(list(groups))
        )

    @property
    def writes(self) -> list[pipeline.Write]:
        """Return all writes in their order."""
        return [write for groups in self.calls for group in groups for write in group.writes]


def test_bulk_insert_folds(frozen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent("series", monkeypatch)
    sent.series.bulk_insert({NOW + second: {"a": [second]} for second in range(120)})
    assert len(sent.calls) == 1
    by_interval = Counter(write.target.interval.interval for write in sent.writes)
    assert by_interval == {"minute": 2, "hour": 2, "week": 1, "month": 1}
    assert all(len(write.delta) == 60 for write in sent.writes if write.target.interval.steps == 5)
    assert [write.timestamp for write in sent.writes][:2] == [NOW + 59, NOW + 59]
    ttls = {write.target.interval.interval: write.ttl for write in sent.writes}
    assert ttls == {"minute": 360, "hour": 7200, "week": 14 * 86400, "month": None}


def test_chunks_of_a_stream_are_bounded(frozen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent("count", monkeypatch)
    drawn = 0

    def entries() -> Iterator[tuple[int, str, int]]:
        nonlocal drawn
        for number in range(45_000):
            drawn += 1
            yield NOW + number, f"name {number % 1000}", 1
            # What has come in so far but was not sent yet.
            assert drawn - 20_000 * len(sent.calls) <= 20_000

    sent.series.bulk_insert(entries())
    assert len(sent.calls) == 3
    months = [write for write in sent.writes if write.target.interval.interval == "month"]
    assert sum(write.delta for write in months) == 45_000
    assert all(len(group.writes) <= pipeline.GROUP_WRITES for groups in sent.calls for group in groups)


def test_chunks_that_go_to_many_steps_are_smaller(
    frozen: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent("count", monkeypatch)
    sent.series.bulk_insert(((NOW, "a", 1) for _ in range(1000)), intervals=99)
    assert len(sent.calls) == 5


def test_events_keep_their_place_among_others(frozen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent("gauge", monkeypatch)
    sent.series.bulk_insert(
        [(NOW, "a", 1), (NOW, "a", 2, "x"), (NOW, "a", 3, "y"), (NOW, "a", 4, None), (NOW, "a", [], "z")]
    )
    first, second, third = sent.calls
    assert [group.event and group.event.id for group in first + second + third] == [None, "x", "y", None]
    assert [group.writes[0].delta for group in first + second + third] == [1, 2, 3, 4]


def test_entries_without_a_timestamp_are_of_the_moment_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [NOW]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    series = new("series")

    def entries() -> Iterator[tuple[None, str, int]]:
        for number in range(3):
            yield None, "a", number
            clock[0] += 60

    series.bulk_insert(entries())
    clock[0] = NOW + 121
    assert series.series("a", "minute", steps=3) == {NOW: [0], NOW + 60: [1], NOW + 120: [2]}


@given(count=st.integers(0, 1500))
@settings(max_examples=20)
def test_groups_are_bounded(count: int) -> None:
    target = next(iter(Schedule({"m": Interval("m", {"step": 60})}).place(0).targets))
    writes = [pipeline.Write("a", target, number, None, 0) for number in range(count)]
    groups = list(group_writes(iter(writes)))
    assert [write for group in groups for write in group.writes] == writes
    assert all(group.event is None for group in groups)
    assert [len(group.writes) for group in groups[:-1]] == [500] * (len(groups) - 1)
    assert all(group.writes for group in groups)


@pytest.mark.parametrize(("kind", "parts"), [("series", 3), ("histogram", 3), ("set", 3), ("count", 1)])
def test_very_many_values_for_one_bucket(
    kind: str, parts: int, frozen: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(kind, monkeypatch)
    sent.series.bulk_insert({NOW: {"a": list(range(5000))}})
    months = [write for write in sent.writes if write.target.interval.interval == "month"]
    assert len(months) == parts
    if kind == "count":
        assert months[0].delta == sum(range(5000))
        return
    assert all(len(write.delta) <= pipeline.WRITE_VALUES for write in months)
    assert [value for write in months for value in write.delta] == list(range(5000))


@given(
    timestamp=st.integers(NOW - 10**7, NOW + 10**7),
    now=st.integers(NOW - 10**5, NOW + 10**5),
    steps=st.integers(-3, 3),
)
def test_lifetimes(timestamp: int, now: int, steps: int) -> None:
    configs = {name: Interval(name, config) for name, config in INTERVALS.items()}
    schedule = Schedule(configs)
    current = schedule.now(now)
    placement = spread_out(schedule, timestamp, steps) if steps else schedule.place(timestamp)
    assert len(placement.targets) == len(configs) * (1 + abs(steps))
    found = lifetimes(placement, current)
    assert lifetimes(placement, current) is found
    assert [target for target, _ in found[1]] == list(placement.targets)
    for target, ttl in found[1]:
        config = target.interval
        if config.steps is None:
            assert ttl is None
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: now)
            left = config.ttl(target.i_start)
        # What is out of the window lives for one more step.
        assert ttl == (left or config.i_calc.seconds)
        same = next(each for each in current.targets if each.interval is config)
        assert ttl == time_to_live(target, same)
    # The answer for another time is another one.
    later = Schedule(configs).now(now + 400)
    assert lifetimes(placement, later) is not found


def test_spread_out_keeps_to_the_calendar() -> None:
    schedule = Schedule({"month": Interval("month", {"step": "monthly", "resolution": "daily"})})
    january_31 = 1_391_126_400
    monthly = GregorianTime("monthly")
    targets = spread_out(schedule, january_31, 2).targets
    assert [target.i_bucket for target in targets] == [201401, 201402, 201403]
    assert [target.at for target in targets] == [
        None,
        monthly.from_bucket(201402),
        monthly.from_bucket(201403),
    ]
    assert [target.r_bucket for target in targets] == [20140131, 20140201, 20140301]
    targets = spread_out(schedule, january_31, -2).targets
    assert [target.i_bucket for target in targets] == [201401, 201312, 201311]


def test_bulk_insert_checks_everything_first(frozen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent("count", monkeypatch)
    for bad, error in (
        ({NOW: {"a": [1]}, float("nan"): {"a": [1]}}, InvalidValue),
        ({NOW: {"a": [1]}, NOW + 1: {"": [1]}}, InvalidValue),
        ({NOW: {"a": [1, "many"]}}, InvalidValue),
        ({NOW: {"a": [2**62, 2**62]}}, InvalidValue),
        ({NOW: {"a": [1, None]}}, InvalidType),
        ({NOW: {("a",): [1]}}, InvalidType),
        ({NOW: [1]}, InvalidType),
        ([(NOW, "a", 1), (NOW, "a")], InvalidType),
        ([(NOW, "a", 1), (NOW, {"$gt": ""}, 1)], InvalidType),
        ([(NOW, "a", 1), 5], InvalidType),
        ([(NOW, "a", 1), (NOW, "a", 1, 1.5)], InvalidType),
        ("a", InvalidType),
        (5, InvalidType),
    ):
        with pytest.raises(error):
            sent.series.bulk_insert(bad)
    assert sent.writes == [] or {write.delta for write in sent.writes} == {1}


def test_batch_is_empty_until_there_are_values() -> None:
    batch = Batch(Schedule({"m": Interval("m", {"step": 60})}), SERIES)
    batch.add("a", [], 0)
    assert not batch
    batch.add("a", [1], 0)
    assert batch


# --- the cost of the engine ------------------------------------------------------------------------------


def best(function: Callable[[], Any]) -> float:
    """Return the seconds of one call, as it is when nothing disturbs it."""
    results = []
    for _ in range(150):
        start = time.perf_counter()
        for _ in range(300):
            function()
        results.append((time.perf_counter() - start) / 300)
    return min(results)


def test_planning_an_insert_is_cheap() -> None:
    series: Any = MemoryBackend(
        Memory(),
        type="count",
        intervals={
            "minute": {"step": 60, "steps": 120},
            "hour": {"step": "1h", "steps": 48, "resolution": 60},
            "daily": {"step": "daily", "resolution": "1h"},
        },
    )
    # A machine that is slower than most is given more time, by its own measure.
    unit = best(lambda: divmod(NOW, 60))
    assert best(lambda: series._place("name", 1, NOW, NOW, 0)) <= max(2e-6, 40 * unit)
