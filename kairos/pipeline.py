"""Plan reads and writes, and finish what a backend has fetched: pure functions, no I/O.

What a backend fetches is ``{name: {i_bucket: {r_bucket: raw}}}``, with an entry for every bucket that
holds data and none for others; ``r_bucket`` is None where the interval is coarse.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from .exceptions import DamagedData, InvalidType, UnknownTransform
from .intervals import Interval, Lifetimes, Placement, Schedule, Target, whole_seconds
from .types import PARTIALS, TRANSFORMS, Algebra, Transform

Rows = dict[str, dict[int, dict["int | None", Any]]]
Hook = Callable[..., Any]

# --- writing -----------------------------------------------------------------------------------------

#: A value of one of these types stands for each of its elements.
SEVERAL: Final = (list, tuple, set, frozenset)

#: One atomic step of a bulk write touches at most so many buckets ...
GROUP_WRITES: Final = 500
#: ... and one write carries at most so many values.
WRITE_VALUES: Final = 2000
#: A stream of values is folded and sent whenever so many have come in.
CHUNK_VALUES: Final = 20_000


class Write(NamedTuple):
    """One delta to one bucket of one name.

    :ivar delta: see :meth:`kairos.types.Algebra.fold`; several writes may share it, nobody changes it.
    :ivar ttl: seconds that the bucket lives from now, None for ever.
    :ivar timestamp: the (last) second that the delta is for.
    """

    name: str
    target: Target
    delta: Any
    ttl: int | None
    timestamp: int


class Event(NamedTuple):
    """Name an insert, so that delivering it again does not count it again.

    :ivar key: digest of series, name and id, 32 hexadecimal digits, the same in every process; the first 8
        are those of the series.
    :ivar timestamp: the second that this delivery is for.
    :ivar remember: seconds that the id must be remembered for.
    :ivar writes_at: the writes of the event, had it been delivered for another second. A store that
        cannot claim all buckets in one step asks for those of the first delivery.
    """

    id: str
    name: str
    key: str
    timestamp: int
    remember: int
    writes_at: Callable[[int], list[Write]]


class Group(NamedTuple):
    """Writes that are to be applied all or not at all, and the event that claims them, if any."""

    event: Event | None
    writes: Sequence[Write]


def time_to_live(target: Target, now: Target) -> int | None:
    """Return the seconds that a write to a target must live, given the target of the current time.

    Retention is counted in whole buckets from that of the data. What is already out of the window lives
    for one more step, so that nothing is dropped without a trace.
    """
    interval = target.interval
    if interval.expire is None:
        return None
    left = interval.expire - (now.i_start - target.i_start)
    return left if left > 0 else interval.i_calc.seconds


def lifetimes(placement: Placement, now: Placement) -> Lifetimes:
    """Return each target with the seconds that a write must live, given the placement of the current time.

    Both placements stay the same for a while, and so does the answer.

    :returns: the placement of the current time, the targets with their seconds, and a dict in which a
        backend may keep what it has prepared for writes to these targets with these seconds.
    """
    found = placement.lifetimes
    if found is None or found[0] is not now:
        current = now.targets
        # Targets of further steps follow in rounds, in the order of the intervals.
        targets = tuple(
            (target, time_to_live(target, current[index % len(current)]))
            for index, target in enumerate(placement.targets)
        )
        placement.lifetimes = found = now, targets, {}
    return found


def writes_of(
    name: str, delta: Any, timestamp: int, placement: Placement, now: Placement
) -> list[Write]:
    """Return the writes of one delta, one for each target of a placement."""
    make, kind = tuple.__new__, Write  # the constructor of a named tuple takes twice as long
    return [
        make(kind, (name, target, delta, ttl, timestamp if target.at is None else target.at))
        for target, ttl in lifetimes(placement, now)[1]
    ]


class _Segment:
    """Hold the values of one name that followed each other within one placement.

    :ivar timestamp: the time of the last one, as it was given.
    """

    __slots__ = ("placement", "timestamp", "values")

    def __init__(self, placement: Placement, values: list[Any], timestamp: Any) -> None:
        self.placement = placement
        self.values = values
        self.timestamp = timestamp


class Batch:
    """Collect values, name by name, and fold them into one write per bucket.

    Values of one name that follow each other within one placement form a segment, so the work per value
    is one comparison and one append; only segments are dealt out to the buckets of all intervals.

    :param encode: returns the values of a segment as the store takes them; without it they come like that.
    :ivar size: how many values :meth:`add` has added, each as often as there are steps that it goes to.
    """

    def __init__(
        self,
        schedule: Schedule,
        algebra: Algebra,
        intervals: int = 0,
        encode: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        self._schedule = schedule
        self._algebra = algebra
        self._intervals = intervals
        self._encode = encode
        self._segments: dict[str, list[_Segment]] = {}
        #: The last segment of each name.
        self._open: dict[str, _Segment] = {}
        self._placement = Placement(0, 0, ())
        self._steps = 1 + abs(intervals)
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._segments)

    def _place(self, timestamp: int) -> Placement:
        if self._intervals:
            return spread_out(self._schedule, timestamp, self._intervals)
        return self._schedule.place(timestamp)

    def add(self, name: str, values: Sequence[Any], timestamp: int) -> None:
        """Add values of a name, which has been checked, for a second; none at all touch no bucket."""
        if not values:
            return
        placement = self._placement
        if not placement.start <= timestamp < placement.end:
            self._placement = placement = self._place(timestamp)
        self.size += len(values) * self._steps
        segment = self._open.get(name)
        if segment is not None and segment.placement is placement:
            segment.values += values
            segment.timestamp = timestamp
        else:
            self._begin(name, placement, values, timestamp)

    def add_all(self, inserts: Mapping[Any, Any], now: int, check: Callable[[Any], str]) -> None:
        """Add ``{timestamp: {name: [value, ...]}}``; None stands for now, a single value for a list of it.

        The loop is :meth:`add` without what is the same for every entry.

        :param check: returns a name as it is written, or raises.
        """
        names: dict[Any, str] = {}
        opened = self._open.get
        placement = self._placement
        for timestamp, entries in inserts.items():
            if timestamp is None:
                timestamp = now
            kind = type(timestamp)
            # The bounds are whole seconds, so a float lies between them if its whole part does.
            if not (kind is float or kind is int) or not placement.start <= timestamp < placement.end:
                whole = whole_seconds(timestamp)
                if not placement.start <= whole < placement.end:
                    self._placement = placement = self._place(whole)
                timestamp = whole
            if type(entries) is not dict and not isinstance(entries, Mapping):
                raise InvalidType(f"bulk_insert: {timestamp!r} needs a mapping of names, not {entries!r}")
            for name, values in entries.items():
                segment = opened(name)
                if type(values) is not list:
                    values = list(values) if isinstance(values, SEVERAL) else [values]
                if segment is not None and segment.placement is placement:
                    segment.values += values
                    segment.timestamp = timestamp
                    continue
                plain = names.get(name)
                if plain is None:
                    plain = names[name] = check(name)
                if values:
                    self._begin(plain, placement, values, timestamp)

    def _begin(
        self, name: str, placement: Placement, values: Sequence[Any], timestamp: Any
    ) -> None:
        self._open[name] = segment = _Segment(placement, [*values], timestamp)
        self._segments.setdefault(name, []).append(segment)

    def writes(self, now: Placement) -> Iterator[Write]:
        """Yield one write per bucket, or several in a row for one with very many values."""
        algebra, encode = self._algebra, self._encode
        make, kind = tuple.__new__, Write
        folded: list[Any] = []
        delta: Any = None
        for name, segments in self._segments.items():
            buckets: dict[tuple[str, int, int | None], tuple[Target, int | None, list[_Segment]]] = {}
            for segment in segments:
                if encode is not None:
                    segment.values = encode(segment.values)
                for target, ttl in lifetimes(segment.placement, now)[1]:
                    bucket = buckets.get(target.key)
                    if bucket is None:
                        buckets[target.key] = target, ttl, [segment]
                    else:
                        bucket[2].append(segment)
            for target, ttl, its in buckets.values():
                last = its[-1]
                values = last.values if len(its) == 1 else [value for each in its for value in each.values]
                if values is not folded:
                    folded = values
                    delta = algebra.fold(folded)
                at = whole_seconds(last.timestamp) if target.at is None else target.at
                if len(folded) <= WRITE_VALUES:
                    yield make(kind, (name, target, delta, ttl, at))
                else:
                    for part in algebra.split(delta, WRITE_VALUES):
                        yield make(kind, (name, target, part, ttl, at))


def spread_out(schedule: Schedule, timestamp: int, intervals: int) -> Placement:
    """Return the placement of a timestamp and of the steps that follow or precede it.

    :param intervals: how many steps of every interval follow, or precede if negative.
    """
    targets = list(schedule.place(timestamp).targets)
    step = 1 if intervals > 0 else -1
    for steps in range(step, intervals + step, step):
        targets.extend(schedule.shifted(timestamp, steps))
    return Placement(timestamp, timestamp + 1, tuple(targets))


def group_writes(writes: Iterable[Write]) -> Iterator[Group]:
    """Yield the writes in groups of bounded size."""
    remaining = iter(writes)
    while group := list(islice(remaining, GROUP_WRITES)):
        yield Group(None, group)


# --- reading -----------------------------------------------------------------------------------------


class ReadPlan(NamedTuple):
    """Say what is to be read.

    :ivar names: in the order in which they were given.
    :ivar joined: whether several names were asked for, even if the list held one only.
    :ivar buckets: every interval bucket in range, in order, without a gap.
    :ivar single: whether this is a :meth:`Timeseries.get` and not a range.
    :ivar fetch: what the caller reads with, or None.
    :ivar partials: the aggregates that the backend is asked for in place of rows, empty for rows. Each row
        is then ``{partial: number}``; a backend is only asked for what its ``_partials`` offers.
    :ivar condense: whether partials are wanted per interval (with the key None) and not per resolution.
    """

    names: Sequence[str]
    joined: bool
    interval: Interval
    buckets: Sequence[int]
    single: bool
    fetch: Hook | None = None
    partials: frozenset[str] = frozenset()
    condense: bool = False


class Stages(NamedTuple):
    """Hold the stages of a read: None for the built-in, True to ask for it, or a callable.

    :ivar process_row: returns the row for what was fetched for it.
    :ivar process_rows: does the same for many, where there is a faster way than one by one.
    """

    process_row: Hook
    condense: Any = None
    join_rows: Any = None
    collapse: Any = None
    transform: Any = None
    process_rows: Callable[[list[Any]], Iterable[Any]] | None = None


def finish(
    rows: Mapping[str, Mapping[int, Mapping[int | None, Any]]],
    plan: ReadPlan,
    stages: Stages,
    algebra: Algebra,
    empty: Callable[[], Any],
    where: Callable[[str, Interval, int, int | None], str],
) -> OrderedDict[int, Any]:
    """Run the stages on fetched rows: process_row, condense, join_rows, collapse, transform.

    :param algebra: merges rows where a stage is the built-in one.
    :param empty: gives what stands for a bucket without data where a single one is returned.
    :param where: tells the place of a row, for errors.
    :returns: ``{i_time: row}`` or, with resolutions that are not condensed,
        ``{i_time: {r_time: row}}``; a ``get`` of those is ``{r_time: row}``.
    """
    interval = plan.interval
    i_calc, r_calc = interval.i_calc, interval.r_calc
    condensing = bool(stages.condense) or bool(stages.collapse)
    nested = not (interval.coarse or condensing)
    transform = compile_transform(stages.transform, algebra)
    tables = [_processed(rows, name, plan, stages, where) for name in plan.names]
    if interval.coarse or plan.condense:
        arrange: Callable[..., Iterator[tuple[Any, bool]]] = _arrange_coarse
    elif condensing:
        arrange = _arrange_condensed
    else:
        arrange = _arrange_nested
    starts = i_calc.from_buckets(plan.buckets)
    arranged = zip(starts, arrange(tables, plan, stages, algebra, empty), strict=True)
    if stages.collapse and not plan.single:
        value = _collapse(arranged, stages, algebra)
        if transform is not None:
            value = transform(value, i_calc.step_size(starts[0], starts[-1]))
        return OrderedDict([(starts[0], value)])
    result: OrderedDict[int, Any] = OrderedDict()
    for start, (value, _) in arranged:
        if transform is not None:
            if nested:
                for (r_time, row), seconds in zip(value.items(), r_calc.step_sizes(value), strict=True):
                    value[r_time] = transform(row, seconds)
            else:
                value = transform(value, i_calc.step_size(start))
        result[start] = value
    if plan.single and nested:
        inner: OrderedDict[int, Any] = result[starts[0]]
        return inner
    return result


#: What one interval of one name holds: its resolution buckets in order (None if it is coarse), their rows.
_Cell = tuple[list[Any], list[Any]]
_EMPTY: Final[_Cell] = ([], [])


def _processed(
    rows: Mapping[str, Mapping[int, Mapping[int | None, Any]]],
    name: str,
    plan: ReadPlan,
    stages: Stages,
    where: Callable[[str, Interval, int, int | None], str],
) -> dict[int, _Cell]:
    """Return what was fetched for a name, as rows, by the interval buckets that hold data."""
    table = rows.get(name, {})
    orders: list[tuple[int, list[Any]]] = []
    raws: list[Any] = []
    for bucket in plan.buckets:
        cell: Mapping[Any, Any] | None = table.get(bucket)
        if cell:
            if len(cell) == 1:
                order = [*cell]
                raws += cell.values()
            else:
                order = sorted(cell)
                raws += map(cell.__getitem__, order)
            orders.append((bucket, order))
    process = stages.process_rows or partial(map, stages.process_row)
    try:
        processed = list(process(raws))
    except DamagedData as error:
        raise _locate(error, rows, plan, stages.process_row, where) from error
    cells: dict[int, _Cell] = {}
    end = 0
    for bucket, order in orders:
        start, end = end, end + len(order)
        cells[bucket] = order, processed[start:end]
    return cells


def _locate(
    error: DamagedData,
    rows: Mapping[str, Mapping[int, Mapping[int | None, Any]]],
    plan: ReadPlan,
    process: Hook,
    where: Callable[[str, Interval, int, int | None], str],
) -> DamagedData:
    """Find the first damaged row and return the error that tells its place."""
    for name, table in rows.items():
        for i_bucket, found in table.items():
            for r_bucket, raw in found.items():
                try:
                    process(raw)
                except DamagedData as damage:
                    place = where(name, plan.interval, i_bucket, r_bucket)
                    return DamagedData(f"{place}: {damage}")
    return error


def _join(
    cells: Sequence[Any], present: Sequence[bool], stages: Stages, algebra: Algebra
) -> Any:
    """Join one value per name; those of names without data reach only a caller's own function."""
    if callable(stages.join_rows):
        return stages.join_rows(list(cells))
    return algebra.merge([cell for cell, here in zip(cells, present, strict=True) if here])


def _arrange_coarse(
    tables: Sequence[Mapping[int, _Cell]],
    plan: ReadPlan,
    stages: Stages,
    algebra: Algebra,
    empty: Callable[[], Any],
) -> Iterator[tuple[Any, bool]]:
    """Yield the row of each interval without resolutions, and whether it holds data."""
    if not plan.joined:
        (table,) = tables
        for bucket in plan.buckets:
            if bucket in table:
                yield table[bucket][1][0], True
            else:
                yield empty(), False
        return
    for bucket in plan.buckets:
        present = [bucket in table for table in tables]
        values = [table[bucket][1][0] if bucket in table else empty() for table in tables]
        value = _join(values, present, stages, algebra)
        yield value, any(present) or callable(stages.join_rows)


def _arrange_nested(
    tables: Sequence[Mapping[int, _Cell]],
    plan: ReadPlan,
    stages: Stages,
    algebra: Algebra,
    empty: Callable[[], Any],
) -> Iterator[tuple[OrderedDict[int, Any], bool]]:
    """Yield ``{r_time: row}`` of each interval, for the resolution buckets that hold data."""
    starts_of = plan.interval.r_calc.from_buckets
    for bucket in plan.buckets:
        order, rows = tables[0].get(bucket, _EMPTY)
        if plan.joined:
            cells, order = _aligned(tables, bucket)
            rows = []
            for r_bucket in order:
                present = [r_bucket in cell for cell in cells]
                rows.append(_join([cell.get(r_bucket) for cell in cells], present, stages, algebra))
        result: OrderedDict[int, Any] = OrderedDict()
        for start, row in zip(starts_of(order), rows, strict=True):
            result[start] = row
        yield result, bool(order)


def _aligned(
    tables: Sequence[Mapping[int, _Cell]], bucket: int
) -> tuple[list[dict[Any, Any]], list[Any]]:
    """Return the rows of an interval by resolution bucket, name by name, and all such buckets in order."""
    cells = [dict(zip(*table.get(bucket, _EMPTY), strict=True)) for table in tables]
    return cells, sorted(set().union(*cells))


def _arrange_condensed(
    tables: Sequence[Mapping[int, _Cell]],
    plan: ReadPlan,
    stages: Stages,
    algebra: Algebra,
    empty: Callable[[], Any],
) -> Iterator[tuple[Any, bool]]:
    """Yield the one row that all resolutions of each interval are condensed to."""
    condense = stages.condense if callable(stages.condense) else None
    starts_of = plan.interval.r_calc.from_buckets
    for bucket in plan.buckets:
        if condense is None and not (plan.joined and callable(stages.join_rows)):
            # Both are built in: by time first, and by the order of the names second.
            rows = tables[0].get(bucket, _EMPTY)[1]
            if plan.joined:
                cells, order = _aligned(tables, bucket)
                rows = [cell[r] for r in order for cell in cells if r in cell]
            yield algebra.merge(rows), bool(rows)
            continue
        values = []
        for table in tables:
            order, rows = table.get(bucket, _EMPTY)
            if plan.joined and not order:
                values.append(empty())
            elif condense is None:
                values.append(algebra.merge(rows))
            else:
                values.append(condense(OrderedDict(zip(starts_of(order), rows, strict=True))))
        if not plan.joined:
            yield values[0], True
        else:
            present = [bucket in table for table in tables]
            value = _join(values, present, stages, algebra)
            yield value, any(present) or callable(stages.join_rows)


def _collapse(
    intervals: Iterable[tuple[int, tuple[Any, bool]]], stages: Stages, algebra: Algebra
) -> Any:
    """Reduce the rows of a whole range to one."""
    collapse = stages.collapse
    if not callable(collapse) and callable(stages.condense):
        collapse = stages.condense
    if callable(collapse):
        return collapse(OrderedDict((start, value) for start, (value, _) in intervals))
    return algebra.merge([value for _, (value, present) in intervals if present])


# --- transforms --------------------------------------------------------------------------------------


def _labelled(transform: Any) -> dict[Hashable, Any] | None:
    """Return the transforms asked for by the keys of their results, or None for a single one."""
    if isinstance(transform, Mapping):
        return dict(transform)
    if isinstance(transform, (list, tuple, set, frozenset)):
        return {each: each for each in transform}
    return None


def _wanted(transform: Any) -> list[Any]:
    """Return the transforms asked for, each a name or a callable."""
    labelled = _labelled(transform)
    return [transform] if labelled is None else list(labelled.values())


def named_transforms(transform: Any) -> list[str] | None:
    """Return the names of the transforms asked for, or None when one of them is no name."""
    wanted = _wanted(transform)
    return wanted if all(isinstance(each, str) for each in wanted) else None


def check_transform(transform: Any) -> None:
    """Raise unless a transform is a name, a callable, or a list, tuple, set or mapping of those.

    :raises UnknownTransform: for a name that no type knows.
    :raises InvalidType: for anything else.
    """
    for each in _wanted(transform):
        if isinstance(each, str):
            if each not in TRANSFORMS:
                raise UnknownTransform(
                    f"transform {each!r} is unknown: use one of {', '.join(TRANSFORMS)}"
                )
        elif not callable(each):
            raise InvalidType(f"a transform must be a name or a callable, not {each!r}")


def compile_transform(transform: Any, algebra: Algebra) -> Transform | None:
    """Return one function of (row, seconds) that does what a checked transform asks for.

    :returns: None where rows stay as they are.
    """
    labelled = _labelled(transform)
    if transform is None or labelled == {}:
        return None
    if labelled is None:
        return _compile_one(transform, algebra)
    compiled = {label: _compile_one(each, algebra) for label, each in labelled.items()}
    return lambda row, seconds: {
        label: function(row, seconds) for label, function in compiled.items()
    }


def _compile_one(transform: Any, algebra: Algebra) -> Transform:
    if isinstance(transform, str):
        # A name that only other types know leaves the row as it is.
        return algebra.transforms.get(transform, lambda row, seconds: row)
    function: Callable[..., Any] = transform
    way = _way_of_duration(function)
    if way == "by name":
        return lambda row, seconds: function(row, duration=seconds)
    if way == "by place":
        return lambda row, seconds: function(row, seconds)
    return lambda row, seconds: function(row)


def _way_of_duration(function: Callable[..., Any]) -> str | None:
    """Tell how a transform takes the seconds that a row covers, None if it does not."""
    import inspect  # costs at import, and many reads have no callable of their own

    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some built-ins do not tell; none of them takes a duration
        return None
    by_place = [
        each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    # The first parameter takes the row, whatever its name.
    for each in parameters[1:]:
        if each.name == "duration" and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
            return "by name"
    for each in by_place[1:2]:
        if each.name == "duration" or each.default is each.empty:
            return "by place"
    return None


def needed_partials(transform: Any) -> frozenset[str] | None:
    """Return the partials that answer all transforms asked for, or None if rows are needed."""
    if not transform:
        return None
    names = named_transforms(transform)
    if not names:
        return None
    return frozenset().union(*(PARTIALS[name] for name in names))

