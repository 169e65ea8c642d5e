"""The public API: the factory, the five types, and what all backends share."""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final

from .exceptions import (
    InvalidType,
    InvalidValue,
    KairosException,
    UnknownInterval,
    UnsupportedClient,
    UnsupportedType,
)
from .intervals import (
    GregorianTime,
    Interval,
    Placement,
    RelativeTime,
    Schedule,
    Target,
    check_name,
    parse_step,
    warn_unknown,
    whole_seconds,
)
from .pipeline import (
    CHUNK_VALUES,
    SEVERAL,
    Batch,
    Event,
    Group,
    Hook,
    ReadPlan,
    Rows,
    Stages,
    Write,
    check_transform,
    finish,
    group_writes,
    named_transforms,
    needed_partials,
    spread_out,
    writes_of,
)
from .registry import find_backend, missing_driver
from .types import COUNT, GAUGE, HISTOGRAM, PARTIAL, SERIES, SET, Algebra, number, numbers

__all__ = [
    "Backend",
    "Count",
    "Gauge",
    "GregorianTime",
    "Histogram",
    "KairosException",
    "RelativeTime",
    "Series",
    "Set",
    "Timeseries",
    "UnknownInterval",
]

_MISSING: Final = object()

#: Ids of events are remembered for a day where no interval has a retention.
_REMEMBER: Final = 86400

#: iterate() reads so many buckets of an interval at once.
_ITERATE: Final = 1000


class Timeseries:
    """Keep statistics over time in Redis, MongoDB or a SQL database.

    Calling this class gives an instance of the class for the client's backend and the type, such as
    ``RedisSeries`` or ``SqlCount``; it is a subclass of the backend's class, of the type's and of this one.

    An instance holds no connection of its own beyond the client, changes nothing that it is given, and
    may be shared by threads, greenlets and, where the client can be, by forked processes.

    :param client_or_url: a client of redis or valkey, a ``MongoClient`` or ``Database`` of pymongo, an
        ``Engine`` of SQLAlchemy, or a URL of any of them.
    :param client: another name of the first argument.
    :param type: one of ``series histogram count gauge set``.
    :param intervals: ``{name: {'step': ..., 'steps': ..., 'resolution': ...}}``. ``step`` and
        ``resolution`` are seconds, text such as ``'30s' '5min' '1h' '1d' '1w' '1m' '1y'``, a timedelta, or
        ``daily weekly monthly yearly``; ``steps`` is how many steps are kept, forever without it.
    :param read_func: applied to every value that is read (of histograms to the keys).
    :param write_func: applied to every value before it is written.
    :param prefix: Redis only: put before every key; a ':' is appended if it is missing.
    :param client_config: keyword arguments for the driver, when a URL is given.
    :param remember: seconds (or a step such as ``'2d'``) that the ``id`` of an insert is remembered for;
        by default the longest retention of the intervals, or a day. Series of another prefix, type or set
        of intervals remember for themselves.
    :param options: what the backend takes beyond these; see its class. An unknown one is a warning.
    :raises UnsupportedClient: for a client or URL of no known kind, or when its driver is missing.
    :raises UnsupportedType: for a type that the backend lacks.
    :raises InvalidInterval: for an interval that cannot be used.
    """

    #: Name of the type, as the ``type`` argument has it; set by the type classes.
    _type: ClassVar[str] = ""
    _algebra: ClassVar[Algebra]
    #: The keyword by which insert takes the caller's pipeline, connection or session.
    _handle: ClassVar[str | None] = None

    def __new__(cls, client_or_url: Any = None, *args: Any, **kwargs: Any) -> Timeseries:
        wanted = kwargs.get("type") or cls._type or "series"
        if cls._type and wanted != cls._type:
            raise InvalidValue(f"{cls.__name__} is of type {cls._type!r}, it cannot be {wanted!r}")
        if issubclass(cls, Backend):
            return object.__new__(cls if cls._type else cls._cell(wanted, cls))
        backend: type[Backend] = find_backend(
            kwargs.get("client") if client_or_url is None else client_or_url
        )
        return object.__new__(backend._cell(wanted, cls))

    def __init__(
        self,
        client_or_url: Any = None,
        *,
        client: Any = None,
        type: str | None = None,
        intervals: Mapping[str, Mapping[str, Any]] | None = None,
        read_func: Hook | None = None,
        write_func: Hook | None = None,
        prefix: str | None = "",
        client_config: Mapping[str, Any] | None = None,
        remember: Any = None,
        **options: Any,
    ) -> None:
        for what, function in (("read_func", read_func), ("write_func", write_func)):
            if function is not None and not callable(function):
                raise InvalidType(f"{what} must be callable, not {function!r}")
        for what, mapping in (("intervals", intervals), ("client_config", client_config)):
            if mapping is not None and not isinstance(mapping, Mapping):
                raise InvalidType(f"{what} must be a mapping, not {mapping!r}")
        self._read_func = read_func
        self._write_func = write_func
        self._intervals = self._configured(intervals or {})
        self._schedule = Schedule(self._intervals, self._target_class)
        retained = [interval.expire for interval in self._intervals.values() if interval.expire]
        self._remember = (
            max(retained, default=_REMEMBER) if remember is None else _seconds(remember)
        )
        self._expires = bool(retained)
        self._prefix = self._check_prefix(prefix)
        known = self._options
        for option in options:
            if option not in known:
                names = [
                    "client",
                    "type",
                    "intervals",
                    "read_func",
                    "write_func",
                    "prefix",
                    "client_config",
                    "remember",
                    *known,
                ]
                warn_unknown(f"{self.__class__.__name__}: option", option, names, stacklevel=3)
        chosen = {
            option: options.get(option, default) for option, default in known.items()
        }
        if client_or_url is None:
            client_or_url = client
        if isinstance(client_or_url, str):
            try:
                self._client = self._connect(client_or_url, dict(client_config or {}))
            except UnsupportedClient:
                raise
            except ImportError as error:
                raise missing_driver(client_or_url, error) from error
        else:
            self._client = self._accept(client_or_url)
        self._setup(**chosen)

    @staticmethod
    def _configured(intervals: Mapping[str, Mapping[str, Any]]) -> dict[str, Interval]:
        configured: dict[str, Interval] = {}
        # No comprehension: warnings count the frames up to the caller, and not every Python has one for it.
        for name, config in intervals.items():
            configured[name] = Interval(name, config)
        return configured

    @staticmethod
    def _check_prefix(prefix: str | None) -> str:
        if not prefix:
            return ""
        prefix = check_name(prefix, "prefix")
        return prefix if prefix.endswith(":") else prefix + ":"

    # --- what a backend defines; see Backend -------------------------------------------------------------

    _options: ClassVar[Mapping[str, Any]] = {}
    _target_class: ClassVar[type[Target]] = Target

    @classmethod
    def _connect(cls, url: str, config: dict[str, Any]) -> Any:
        raise NotImplementedError

    @classmethod
    def _accept(cls, client: Any) -> Any:
        raise NotImplementedError

    def _setup(self, **options: Any) -> None:
        raise NotImplementedError

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        raise NotImplementedError

    def _fetch(self, plan: ReadPlan) -> Rows:
        raise NotImplementedError

    def _encode(self, value: Any) -> Any:
        raise NotImplementedError

    def _process_row(self, raw: Any) -> Any:
        raise NotImplementedError

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        return map(self._process_row, raws)

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        return frozenset()

    def _where(self, name: str, interval: Interval, i_bucket: int, r_bucket: int | None) -> str:
        raise NotImplementedError

    def _first_last(self, name: str) -> Mapping[str, tuple[int, int]]:
        raise NotImplementedError

    # --- writing -----------------------------------------------------------------------------------------

    def insert(
        self,
        name: str,
        value: Any = _MISSING,
        timestamp: Any = None,
        intervals: int = 0,
        *,
        id: Any = None,
        **handle: Any,
    ) -> None:
        """Write a value into the current bucket of every interval, or that of a timestamp.

        All intervals are written in one atomic step where the store has one; see the guarantees in the
        README. Expiry counts from the bucket that the data is for; data that is already out of the window
        is stored for one more step.

        :param name: of the statistic, any text but the empty one.
        :param value: what to write; a list, tuple or set inserts each element. Optional for the type
            ``count``, where it is how much to add.
        :param timestamp: Unix seconds or an aware datetime, default now.
        :param intervals: also insert at the start of so many following steps of every interval, or
            preceding ones if negative.
        :param id: names the event: delivered again within ``remember`` seconds, it is not counted again.
        :param handle: ``pipeline=`` on Redis, ``session=`` on Mongo, ``connection=`` on SQL: the caller's
            own, by which the write is made and whose transaction decides. On a pipeline nothing is
            executed yet.
        :raises InvalidValue, InvalidType: before anything is written.
        :raises UnknownOutcome: when the write was sent and its answer was lost.
        """
        own = self._own_handle(handle) if handle else None
        if value is _MISSING:
            value = self._default_value()
        name = check_name(name, "name")
        values = self._values(value)
        now = int(time.time()) if timestamp is None or self._expires else 0
        moment = now if timestamp is None else whole_seconds(timestamp)
        if not self._intervals:
            raise InvalidValue("this series has no intervals: nothing can be written to it")
        if not values:
            return
        delta = self._algebra.fold(values)
        if id is None and own is None:
            current = self._current(moment, now)
            placement = current
            if intervals or not current.start <= moment < current.end:
                placement = self._placement(moment, intervals)
            self._write_delta(name, delta, moment, placement, current)
            return
        event = None
        writes_at = partial(self._place, name, delta, now=now, intervals=intervals)
        if id is not None:
            event = self._event(name, id, moment, writes_at)
        self._write([Group(event, writes_at(moment))], own)

    def _write_delta(
        self, name: str, delta: Any, timestamp: int, placement: Placement, current: Placement
    ) -> None:
        """Write one delta to every target of a placement, given the placement of the current time."""
        writes = writes_of(name, delta, timestamp, placement, current)
        self._write([Group(None, writes)], None)

    def _place(self, name: str, delta: Any, timestamp: int, now: int, intervals: int) -> list[Write]:
        """Return the writes of one delta for a timestamp, one for every bucket that it touches."""
        placement = self._placement(timestamp, intervals)
        return writes_of(name, delta, timestamp, placement, self._current(timestamp, now))

    def _current(self, timestamp: int, now: int) -> Placement:
        """Return the placement of the current time; without a retention it makes no difference."""
        return self._schedule.now(now) if self._expires else self._schedule.place(timestamp)

    def _placement(self, timestamp: int, intervals: int) -> Placement:
        """Return the placement of a timestamp, and of further steps."""
        if intervals:
            return spread_out(self._schedule, timestamp, _whole(intervals))
        return self._schedule.place(timestamp)

    def _event(self, name: str, id: Any, timestamp: int, writes_at: Any) -> Event:
        from uuid import UUID  # both cost at import, and few series name their events

        if isinstance(id, bool) or not isinstance(id, (str, int, UUID)):
            raise InvalidType(f"id must be text, a whole number or a UUID, not {id!r}")
        # A member of an enumeration is its value, whatever str() makes of it in this version of Python.
        text = str.__str__(id) if isinstance(id, str) else str(id if isinstance(id, UUID) else int(id))
        if not text:
            raise InvalidValue("id must not be empty")
        key = self._series_key() + _digest(12, name, text)
        return Event(text, name, key, timestamp, self._remember, writes_at)

    def _series_key(self) -> str:
        """Return what the keys of all events of this series start with: 8 hexadecimal digits.

        Two series may share a prefix or a table, and be told of the same event under the same name.
        """
        return _digest(4, self._type, *sorted(self._intervals))

    def bulk_insert(self, inserts: Any, intervals: int = 0, **handle: Any) -> None:
        """Write many values over the fewest round trips, as if inserted one by one.

        Values for the same bucket are merged into one command. What is given as a mapping is checked as a
        whole before anything is written; an iterable is read, merged and sent in chunks, in constant
        memory, so an error in the middle leaves the chunks before it written.

        :param inserts: ``{timestamp: {name: [value, ...]}}``, where the timestamp None means now; or an
            iterable of ``(timestamp, name, value)`` or ``(timestamp, name, value, id)``. It is not changed.
        :param intervals: see :meth:`insert`.
        :param handle: see :meth:`insert`.
        :raises InvalidValue, InvalidType: for bad input.
        :raises UnknownOutcome: when a chunk was sent and its answer was lost; chunks before it are
            written, none after it.
        """
        own = self._own_handle(handle) if handle else None
        intervals = _whole(intervals or 0)
        if not self._intervals:
            raise InvalidValue("this series has no intervals: nothing can be written to it")
        if isinstance(inserts, Mapping):
            batch = Batch(self._schedule, self._algebra, intervals, self._encode_all)
            batch.add_all(inserts, int(time.time()), partial(check_name, what="name"))
            self._send(batch, own)
            return
        self._stream(inserts, intervals, own)

    def _stream(self, inserts: Iterable[Any], intervals: int, own: Any) -> None:
        """Write an iterable of entries, chunk by chunk."""
        if isinstance(inserts, (str, bytes)) or not isinstance(inserts, Iterable):
            raise InvalidType(f"bulk_insert needs a mapping or an iterable of entries, not {inserts!r}")
        batch = Batch(self._schedule, self._algebra, intervals)
        claimed: list[Group] = []
        for entry in inserts:
            try:
                timestamp, name, value, *rest = entry
                (id,) = rest or (None,)
            except (TypeError, ValueError) as error:
                raise InvalidType(
                    f"bulk_insert: {entry!r} is not (timestamp, name, value) with an optional id"
                ) from error
            name = check_name(name, "name")
            # The source may be one that lasts, so now is when the entry came.
            moment = int(time.time()) if timestamp is None else whole_seconds(timestamp)
            values = self._values(value)
            if id is None:
                if claimed:
                    # Writes of one chunk keep their order, and so their last value.
                    self._write(claimed, own)
                    claimed = []
                batch.add(name, values, moment)
                if batch.size >= CHUNK_VALUES:
                    self._send(batch, own)
                    batch = Batch(self._schedule, self._algebra, intervals)
            elif values:
                if batch:
                    self._send(batch, own)
                    batch = Batch(self._schedule, self._algebra, intervals)
                claimed.append(self._claimed(name, values, moment, intervals, id))
                if len(claimed) >= CHUNK_VALUES // 20:
                    self._write(claimed, own)
                    claimed = []
        if claimed:
            self._write(claimed, own)
        if batch:
            self._send(batch, own)

    def _claimed(
        self, name: str, values: list[Any], moment: int, intervals: int, id: Any
    ) -> Group:
        delta = self._algebra.fold(values)
        now = int(time.time())
        writes_at = partial(self._place, name, delta, now=now, intervals=intervals)
        return Group(self._event(name, id, moment, writes_at), writes_at(moment))

    def _send(self, batch: Batch, own: Any) -> None:
        if batch:
            now = self._schedule.now(int(time.time()))
            self._write(list(group_writes(batch.writes(now))), own)

    def _values(self, value: Any) -> list[Any]:
        """Return the encoded values of what was handed to an insert."""
        if isinstance(value, SEVERAL):
            return self._encode_all(list(value))
        if self._write_func is not None:
            value = self._write_func(value)
        return [self._encode_value(value)]

    def _encode_all(self, values: list[Any]) -> list[Any]:
        """Return values as the store takes them, through write_func if there is one."""
        if self._write_func is not None:
            values = list(map(self._write_func, values))
        return self._encode_list(values)

    def _encode_list(self, values: list[Any]) -> list[Any]:
        return [self._encode_value(each) for each in values]

    def _encode_value(self, value: Any) -> Any:
        return self._encode(value)

    def _default_value(self) -> Any:
        raise InvalidType(f"insert into a {self._type} needs a value")

    def _own_handle(self, handle: Mapping[str, Any]) -> Any:
        """Return the caller's pipeline, connection or session out of the keywords of a call."""
        for keyword in handle:
            if keyword != self._handle:
                known = f"; {self._handle!r} is known" if self._handle else ""
                raise InvalidType(f"unknown keyword argument {keyword!r}{known}")
        return handle.get(self._handle or "")

    # --- reading -----------------------------------------------------------------------------------------

    def get(
        self,
        name: Any,
        interval: str,
        *,
        timestamp: Any = None,
        transform: Any = None,
        condense: Any = None,
        fetch: Hook | None = None,
        process_row: Hook | None = None,
        join_rows: Hook | None = None,
        condensed: Any = None,
        **unknown: Any,
    ) -> OrderedDict[int, Any]:
        """Read the bucket of one interval.

        :param name: of the statistic, or a list, tuple or set of names that are joined into one.
        :param interval: name of the interval.
        :param timestamp: Unix seconds or an aware datetime in the bucket, default now.
        :param transform: a name (``mean count min max sum rate``), a callable, a list, tuple or set of
            these, or a mapping of keys to these; run last, on each row. A callable takes ``(data)``, or
            ``(data, duration)`` with the seconds that the row covers.
        :param condense: True to reduce the resolutions to one row, or a callable that is given
            ``{r_time: row}``.
        :param fetch: reads in place of the backend; its signature is described with the backend.
        :param process_row: takes what was fetched for a row, and returns the row.
        :param join_rows: takes a list with one row per name, and returns one row. A name without data in
            the interval gives the type's empty value, one that lacks a resolution bucket gives None.
        :returns: ``{i_time: row}`` with exactly one entry; with resolutions ``{r_time: row}`` of those
            that hold data, in order of time. Keys are Unix seconds.
        :raises UnknownInterval: when the series has no such interval.
        :raises InvalidValue, InvalidType: for bad input, a keyword argument of another name included.
        :raises DamagedData: when the store holds something else than the type keeps.
        """
        _refuse(unknown)
        stages = self._stages(transform, condense, condensed, fetch, process_row, join_rows, None)
        names, joined = self._names(name)
        config = self._interval(interval)
        moment = int(time.time()) if timestamp is None else timestamp
        bucket = config.i_calc.to_bucket(moment)
        return self._read(ReadPlan(names, joined, config, [bucket], True, fetch), stages)

    def series(
        self,
        name: Any,
        interval: str,
        *,
        start: Any = None,
        end: Any = None,
        steps: int | None = None,
        transform: Any = None,
        condense: Any = None,
        collapse: Any = None,
        fetch: Hook | None = None,
        process_row: Hook | None = None,
        join_rows: Hook | None = None,
        condensed: Any = None,
        **unknown: Any,
    ) -> OrderedDict[int, Any]:
        """Read the buckets of a range, with an entry for every interval in it, empty or not.

        Both ends are inclusive: the range is that of the buckets which ``start`` and ``end`` fall into.
        With only one of them it holds ``steps`` intervals, with neither it ends now.

        :param start: Unix seconds or an aware datetime in the first interval.
        :param end: Unix seconds or an aware datetime in the last interval; before ``start``, the one
            interval of ``start`` is read.
        :param steps: how many intervals; default is the ``steps`` of the interval, or 1. Ignored when
            both ends are given.
        :param collapse: True to reduce the whole range to one row, or a callable that is given
            ``{i_time: row}``; resolutions are condensed then.

        The other parameters are those of :meth:`get`.

        :returns: ``{i_time: row}``, with resolutions ``{i_time: {r_time: row}}`` (``{i_time: row}`` if
            condensed), and a single entry keyed by the first interval if collapsed.
        :raises TooManyBuckets: from a million intervals on; see :meth:`iterate`.
        """
        _refuse(unknown)
        stages = self._stages(transform, condense, condensed, fetch, process_row, join_rows, collapse)
        names, joined = self._names(name)
        config = self._interval(interval)
        buckets = self._range(config, start, end, steps)
        return self._read(ReadPlan(names, joined, config, buckets, False, fetch), stages)

    def iterate(
        self,
        name: Any,
        interval: str,
        *,
        transform: Any = None,
        condense: Any = None,
        fetch: Hook | None = None,
        process_row: Hook | None = None,
        join_rows: Hook | None = None,
        condensed: Any = None,
        **unknown: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (timestamp, row) from the first bucket that holds data to the last one.

        Every interval between the two is yielded, empty or not; with resolutions that are not condensed,
        every resolution bucket that holds data. Buckets are read in batches, in constant memory.

        The parameters are those of :meth:`get`.
        """
        _refuse(unknown)
        stages = self._stages(transform, condense, condensed, fetch, process_row, join_rows, None)
        names, joined = self._names(name)
        plan = ReadPlan(names, joined, self._interval(interval), (), False, fetch)
        return self._iterate(plan, stages)

    def _iterate(self, plan: ReadPlan, stages: Stages) -> Iterator[tuple[int, Any]]:
        config = plan.interval
        ends = [
            found[config.interval]
            for found in map(self._first_last, plan.names)
            if config.interval in found
        ]
        if not ends:
            return
        start_of = config.i_calc.from_bucket
        first = start_of(min(low for low, _ in ends))
        last = start_of(max(high for _, high in ends))
        # As many rows in memory as a coarse interval would have, whatever the resolution.
        size = max(1, _ITERATE * config.r_calc.seconds // config.i_calc.seconds)
        nested = not (config.coarse or stages.condense)
        buckets = config.i_calc.iterate(first, last)
        while batch := list(islice(buckets, size)):
            rows = self._read(plan._replace(buckets=batch), stages)
            for timestamp, row in rows.items():
                if nested:
                    yield from row.items()
                else:
                    yield timestamp, row

    def _stages(
        self,
        transform: Any,
        condense: Any,
        condensed: Any,
        fetch: Hook | None,
        process_row: Hook | None,
        join_rows: Hook | None,
        collapse: Any,
    ) -> Stages:
        """Check the stages of a read."""
        if condensed is not None:
            warnings.warn(
                "condensed is deprecated, use condense", DeprecationWarning, stacklevel=3
            )
            condense = condensed if condense is None else condense
        hooks = {"fetch": fetch, "process_row": process_row, "join_rows": join_rows}
        for what, hook in hooks.items():
            if hook is not None and not callable(hook):
                raise InvalidType(f"{what} must be callable, not {hook!r}")
        if transform is not None:
            check_transform(transform)
        if process_row is not None:
            return Stages(process_row, condense, join_rows, collapse, transform)
        return Stages(
            self._process_row, condense, join_rows, collapse, transform, self._process_rows
        )

    def _names(self, name: Any) -> tuple[list[str], bool]:
        """Return the names to be read, and whether they are to be joined."""
        joined = isinstance(name, (list, tuple, set, frozenset))
        names = [check_name(each, "name") for each in (name if joined else [name])]
        if not names:
            raise InvalidValue("name must not be an empty list")
        return (sorted(names) if isinstance(name, (set, frozenset)) else names), joined

    def _interval(self, interval: Any) -> Interval:
        try:
            return self._intervals[interval]
        except (KeyError, TypeError) as error:
            known = ", ".join(map(repr, self._intervals)) or "none"
            raise UnknownInterval(
                f"interval {interval!r} is unknown: this series has {known}"
            ) from error

    def _range(self, config: Interval, start: Any, end: Any, steps: Any) -> Sequence[int]:
        """Return the buckets of a range of a series."""
        calc = config.i_calc
        count = _whole(steps) if steps else config.steps or 1
        if count < 1:
            raise InvalidValue(f"steps {steps!r} must not be negative")
        if start is None:
            last = whole_seconds(time.time() if end is None else end)
            first = calc.normalize(last, 1 - count)
        else:
            first = whole_seconds(start)
            last = calc.normalize(first, count - 1) if end is None else whole_seconds(end)
        first = calc.normalize(first)
        return calc.buckets(first, max(first, last))

    def _read(self, plan: ReadPlan, stages: Stages) -> OrderedDict[int, Any]:
        """Fetch what is planned, or partials of it if the store can answer, and run the stages."""
        wanted = None if plan.fetch else self._pushed(plan, stages)
        if wanted is not None:
            partial_stages = Stages(
                _as_fetched, stages.condense, None, stages.collapse, stages.transform, _as_fetched
            )
            rows = self._fetch(wanted)
            return finish(rows, wanted, partial_stages, PARTIAL, PARTIAL.empty, self._where)
        rows = self._fetch(plan)
        return finish(rows, plan, stages, self._algebra, self._empty, self._where)

    def _pushed(self, plan: ReadPlan, stages: Stages) -> ReadPlan | None:
        """Return a plan that asks the store for partials, or None when rows have to be fetched."""
        needed = needed_partials(stages.transform)
        if (
            needed is None
            or stages.join_rows is not None
            or callable(stages.condense)
            or callable(stages.collapse)
            or stages.process_row != self._process_row
            # A name that only other types know returns the rows themselves, for one.
            or not self._algebra.derivable.issuperset(named_transforms(stages.transform) or ())
        ):
            return None
        condensing = not plan.interval.coarse and bool(stages.condense or stages.collapse)
        merging = len(plan.names) > 1 or condensing or bool(stages.collapse)
        wanted = ReadPlan(
            plan.names, plan.joined, plan.interval, plan.buckets, plan.single, None, needed, condensing
        )
        return wanted if needed <= self._partials(wanted, merging) else None

    def _empty(self) -> Any:
        """Return what a bucket without data reads as."""
        return self._algebra.empty()

    # --- housekeeping ------------------------------------------------------------------------------------

    def list(self) -> list[str]:
        """Return the names that hold data in this series, sorted."""
        raise NotImplementedError

    def properties(self, name: str) -> dict[str, dict[str, int]]:
        """Return the ends of the data of a name.

        :returns: ``{interval: {'first': timestamp, 'last': timestamp}}``, with the first seconds of the
            first and the last interval bucket that hold data; intervals without data are left out.
        """
        found = self._first_last(check_name(name, "name"))
        return {
            interval: {
                "first": config.i_calc.from_bucket(found[interval][0]),
                "last": config.i_calc.from_bucket(found[interval][1]),
            }
            for interval, config in self._intervals.items()
            if interval in found
        }

    def delete(self, name: str) -> int:
        """Delete exactly this name, in all intervals.

        :returns: how many keys, documents or rows went.
        """
        raise NotImplementedError

    def delete_all(self) -> int:
        """Delete every name of this series.

        :returns: how many keys, documents or rows went.
        """
        raise NotImplementedError

    def expire(self, name: str | None = None) -> int:
        """Delete what is out of the window, where the store does not do so by itself.

        :param name: only of this statistic.
        :returns: how many rows went; 0 on Redis and MongoDB, which expire by themselves.
        """
        if name is not None:
            check_name(name, "name")
        return 0


def _refuse(unknown: Mapping[str, Any]) -> None:
    """Raise if a call was given a keyword argument that nothing reads."""
    for keyword in unknown:
        raise InvalidType(f"unknown keyword argument {keyword!r}")


def _as_fetched(raw: Any) -> Any:
    return raw


def _digest(size: int, *parts: str) -> str:
    """Return so many bytes of a digest of texts, in hexadecimal digits; it is the same everywhere."""
    from hashlib import blake2b

    identity = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _seconds(step: Any) -> int:
    parsed = parse_step(step, "remember")
    if isinstance(parsed, str):
        return GregorianTime(parsed).seconds
    return parsed


def _whole(steps: Any) -> int:
    """Return a number of steps as an int.

    :raises InvalidType: when it is no whole number.
    """
    if isinstance(steps, int):
        return steps
    try:
        if int(steps) == steps:
            return int(steps)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidType(f"a number of steps must be a whole number, not {steps!r}")


class Backend(Timeseries):
    """Be the base of all backends; third parties derive theirs from it.

    A backend defines ``_connect`` (a URL to a client), ``_accept`` (check a client), ``_setup`` (take the
    options), ``_write``, ``_fetch``, ``_encode``, ``_where``, ``_first_last`` and the housekeeping methods.
    One class per type, deriving from the backend and the type class, in this order, defines what the two
    have to do with each other: ``_process_row`` and whatever the backend asks of its cells; a type without
    such a class is not supported. A backend class defines nothing that a type class defines too. One that
    derives from another backend starts with the other's classes.

    ``_options``, ``_handle``, ``_target_class``
        are data: the options of the constructor with their defaults, the keyword by which an insert takes
        the caller's pipeline, connection or session, and a :class:`~kairos.intervals.Target` that holds
        more than the plain one.
    ``_connect(url, config)``, ``_accept(client)``
        return the client, which becomes ``_client``; the latter may refuse one. ``_setup(**options)`` is
        called next, once, with every option.
    ``_write(groups, handle)``
        applies every group all or nothing where the store can, groups in their order. ``handle`` is the
        caller's pipeline, connection or session, or None. A group with an event is applied once however
        often the event is delivered.
    ``_fetch(plan)``
        returns ``{name: {i_bucket: {r_bucket or None: raw}}}`` of the buckets that hold data, read by
        ``plan.fetch`` where it is given.
    ``_process_row(raw)``
        returns the row of one bucket, with ``_read_func`` applied to its values; the row is the caller's
        to keep. It raises DamagedData for what the type does not keep, and ``_where`` gives the place.
    ``_process_rows(raws)``
        returns the rows of many buckets, by default one by one. A class that defines ``_process_row`` alone
        has that default, too.
    ``_partials(plan, merging)``
        returns which of ``count sum min max`` the store can compute in place of the rows of a plan, exactly
        as Python would: none, unless it is overridden. With ``merging`` those of several rows get added up.
    ``_encode(value)``
        returns a value as the store takes it, or raises InvalidValue or InvalidType; it does no I/O.
    ``_first_last(name)``
        returns ``{interval: (first i_bucket, last i_bucket)}`` of the intervals that hold data.
    ``list``, ``delete``, ``delete_all``, ``expire``
        are the public methods; ``delete_all`` forgets the ids of events as well.
    """

    #: type name to concrete class, one table per backend class.
    _cells: ClassVar[dict[str, type[Timeseries]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_process_row" in cls.__dict__ and "_process_rows" not in cls.__dict__:
            # What a class that this one derives from does with many rows is not what this one wants.
            cls._process_rows = Timeseries._process_rows  # type: ignore[method-assign]
        if not cls._type:
            # A backend that derives from another starts with the other's cells, and may bring its own.
            cls._cells = dict(getattr(cls, "_cells", {}))
        elif any(base in _TYPES for base in cls.__bases__):
            owner = next(base for base in cls.__mro__ if "_cells" in base.__dict__)
            other = cls._cells.get(cls._type)
            if other is not None and issubclass(other, owner):
                raise InvalidValue(f"{cls.__name__}: {other.__name__} already serves {cls._type!r}")
            cls._cells[cls._type] = cls

    @classmethod
    def _cell(cls, name: Any, asked: type[Timeseries]) -> type[Timeseries]:
        """Return the class for a type, mixed with the application's own subclass if it asked for one."""
        cell = cls._cells.get(name) if isinstance(name, str) else None
        if cell is None:
            raise UnsupportedType(
                f"type {name!r} is not supported by {cls.__name__}: use one of {', '.join(cls._cells)}"
            )
        if not issubclass(cell, cls):
            # The class of a backend that this one derives from.
            cell = _mixed(cls, cell, cls.__name__.removesuffix("Backend") + cell._type.capitalize())
        return cell if issubclass(cell, asked) else _mixed(asked, cell, asked.__name__)


def _mixed(asked: type[Timeseries], cell: type[Timeseries], name: str) -> type[Timeseries]:
    """Return a class that is a subclass of somebody's own and the concrete one; it is made once."""
    mixed: type[Timeseries] | None = asked.__dict__.get(f"_{cell.__name__}")
    if mixed is None:
        mixed = type(name, (asked, cell), {"__module__": asked.__module__, "__doc__": asked.__doc__})
        setattr(asked, f"_{cell.__name__}", mixed)
    return mixed


class Series(Timeseries):
    """Keep all values of a bucket, in the order of their arrival."""

    _type = "series"
    _algebra = SERIES


class Histogram(Timeseries):
    """Keep how often each value occurred in a bucket."""

    _type = "histogram"
    _algebra = HISTOGRAM


class Count(Timeseries):
    """Keep one number per bucket, which inserts add to."""

    _type = "count"
    _algebra = COUNT

    _encode_value = staticmethod(number)
    _encode_list = staticmethod(numbers)

    def _default_value(self) -> int:
        return 1


class Gauge(Timeseries):
    """Keep the value of a bucket that was written last."""

    _type = "gauge"
    _algebra = GAUGE

    def _empty(self) -> Any:
        if self._read_func is None:
            return None
        try:
            return self._read_func("")
        except Exception:  # noqa: BLE001 - whatever it raises, it does not take the empty string
            return None


class Set(Timeseries):
    """Keep the distinct values of a bucket."""

    _type = "set"
    _algebra = SET


_TYPES: Final = (Series, Histogram, Count, Gauge, Set)
