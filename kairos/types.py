"""What a bucket holds, type by type: five small algebras.

A type is a monoid: it has an empty value and one way to merge rows. That one operation condenses
resolutions, joins names and collapses ranges, and its writing twin folds many values for one bucket into
one delta. Rows and deltas that are handed in are never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain, islice
from operator import add
from typing import Any, ClassVar, Final

from .exceptions import InvalidType, InvalidValue

#: A transform with the seconds that the row covers; only ``rate`` looks at them.
Transform = Callable[[Any, float], Any]

#: The partial aggregates that each named transform can be derived from, where a store computes them.
PARTIALS: Final[Mapping[str, frozenset[str]]] = {
    "count": frozenset({"count"}),
    "rate": frozenset({"count"}),
    "sum": frozenset({"sum"}),
    "mean": frozenset({"sum", "count"}),
    "min": frozenset({"min"}),
    "max": frozenset({"max"}),
}


class Algebra:
    """Define the empty value, the merge, the fold and the transforms of one type.

    :cvar transforms: the named transforms, each a function of (row, seconds).
    :cvar derivable: those of them that :class:`PartialAlgebra` derives from what a store computed.
    """

    transforms: ClassVar[Mapping[str, Transform]] = {}
    derivable: ClassVar[frozenset[str]] = frozenset()

    def empty(self) -> Any:
        """Return a new empty value: what a bucket without data reads as."""
        raise NotImplementedError

    def merge(self, rows: Iterable[Any]) -> Any:
        """Return a new row that holds what all rows hold, in their order; the rows stay as they are."""
        raise NotImplementedError

    def fold(self, values: Sequence[Any]) -> Any:
        """Return the delta that writing these values, in their order, makes to one bucket."""
        raise NotImplementedError

    def split(self, delta: Any, size: int) -> Iterator[Any]:
        """Yield deltas of at most ``size`` values that make the same change, one after the other."""
        yield delta


def _unhashable(values: Iterable[Any]) -> InvalidType:
    """Return the error for the first value that no set can hold."""
    found = next((value for value in values if not isinstance(value, Hashable)), values)
    return InvalidType(f"value {found!r} can be neither a key of a histogram nor a member of a set")


def _slices(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(values)
    while part := list(islice(iterator, size)):
        yield part


#: The transforms of rows that hold values, each once or more often.
_OF_VALUES: Final[Mapping[str, Transform]] = {
    "mean": lambda row, seconds: sum(row) / len(row) if row else 0,
    "count": lambda row, seconds: len(row),
    "min": lambda row, seconds: min(row) if row else 0,
    "max": lambda row, seconds: max(row) if row else 0,
    "sum": lambda row, seconds: sum(row),
    "rate": lambda row, seconds: len(row) / seconds,
}


class SeriesAlgebra(Algebra):
    """Keep values in the order of their arrival; rows and deltas are lists."""

    transforms = _OF_VALUES
    derivable = frozenset(_OF_VALUES)

    def empty(self) -> list[Any]:
        return []

    def merge(self, rows: Iterable[Any]) -> Any:
        rows = list(rows)
        if rows and not isinstance(rows[0], list):
            # A custom fetch or process_row made something else of the rows, a number perhaps.
            return reduce(add, rows)
        return list(chain.from_iterable(rows))

    def fold(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def split(self, delta: list[Any], size: int) -> Iterator[list[Any]]:
        return _slices(delta, size)


class HistogramAlgebra(Algebra):
    """Count the occurrences of each value; rows and deltas are dicts of value to number."""

    # The rate is a number for each value.
    derivable = frozenset({"mean", "count", "min", "max", "sum"})
    transforms: ClassVar[Mapping[str, Transform]] = {
        "mean": lambda row, seconds: (
            sum(value * count for value, count in row.items()) / sum(row.values()) if row else 0
        ),
        "count": lambda row, seconds: sum(row.values()),
        "min": lambda row, seconds: min(row) if row else 0,
        "max": lambda row, seconds: max(row) if row else 0,
        "sum": lambda row, seconds: sum(value * count for value, count in row.items()),
        "rate": lambda row, seconds: {value: count / seconds for value, count in row.items()},
    }

    def empty(self) -> dict[Any, Any]:
        return {}

    def merge(self, rows: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        for row in rows:
            for value, count in row.items():
                merged[value] = merged.get(value, 0) + count
        return merged

    def fold(self, values: Sequence[Any]) -> dict[Any, int]:
        counts: dict[Any, int] = {}
        try:
            for value in values:
                counts[value] = counts.get(value, 0) + 1
        except TypeError as error:
            raise _unhashable(values) from error
        return counts

    def split(self, delta: dict[Any, int], size: int) -> Iterator[dict[Any, int]]:
        return map(dict, _slices(delta.items(), size))


class CountAlgebra(Algebra):
    """Keep one number, whole as long as only whole numbers were added."""

    transforms: ClassVar[Mapping[str, Transform]] = {"rate": lambda row, seconds: row / seconds}
    # The partial called count is the total here.
    derivable = frozenset({"rate"})

    def empty(self) -> int:
        return 0

    def merge(self, rows: Iterable[Any]) -> Any:
        return sum(rows)

    def fold(self, values: Sequence[Any]) -> Any:
        # The sum of numbers that are in range need not be.
        return values[0] if len(values) == 1 else number(sum(values))


class GaugeAlgebra(Algebra):
    """Keep the value that was written last; a row of None is one that is not set."""

    def empty(self) -> None:
        return None

    def merge(self, rows: Iterable[Any]) -> Any:
        last = None
        for row in rows:
            if row is not None:
                last = row
        return last

    def fold(self, values: Sequence[Any]) -> Any:
        return values[-1]


class SetAlgebra(Algebra):
    """Keep the distinct values; rows are sets, deltas are lists without repetition."""

    transforms = _OF_VALUES
    derivable = frozenset(_OF_VALUES)

    def empty(self) -> set[Any]:
        return set()

    def merge(self, rows: Iterable[Iterable[Any]]) -> set[Any]:
        return set().union(*rows)

    def fold(self, values: Sequence[Any]) -> list[Any]:
        try:
            return list(dict.fromkeys(values))
        except TypeError as error:
            raise _unhashable(values) from error

    def split(self, delta: list[Any], size: int) -> Iterator[list[Any]]:
        return _slices(delta, size)


class PartialAlgebra(Algebra):
    """Merge aggregates that a store has computed; rows are dicts of some of ``count sum min max``.

    The transforms derive what the same transform of the merged rows themselves would have been.
    """

    transforms: ClassVar[Mapping[str, Transform]] = {
        "mean": lambda row, seconds: row["sum"] / row["count"] if row else 0,
        "count": lambda row, seconds: row["count"] if row else 0,
        "min": lambda row, seconds: row["min"] if row else 0,
        "max": lambda row, seconds: row["max"] if row else 0,
        "sum": lambda row, seconds: row["sum"] if row else 0,
        "rate": lambda row, seconds: (row["count"] if row else 0) / seconds,
    }
    _merges: ClassVar[Mapping[str, Callable[[Iterable[Any]], Any]]] = {
        "count": sum,
        "sum": sum,
        "min": min,
        "max": max,
    }

    def empty(self) -> dict[str, Any]:
        return {}

    def merge(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        rows = list(rows)
        if not rows:
            return {}
        return {name: self._merges[name](row[name] for row in rows) for name in rows[0]}


SERIES: Final = SeriesAlgebra()
HISTOGRAM: Final = HistogramAlgebra()
COUNT: Final = CountAlgebra()
GAUGE: Final = GaugeAlgebra()
SET: Final = SetAlgebra()
PARTIAL: Final = PartialAlgebra()

#: Counts are 64-bit numbers in every store.
LIMIT: Final = 2**63

#: Every transform that some type knows by name.
TRANSFORMS: Final = tuple(SERIES.transforms)


def number(value: Any) -> int | float:
    """Return a value to be counted as an int where it is whole, else as a float.

    :param value: a number, or text that spells one.
    :raises InvalidValue: for text that spells none, NaN, infinity, and whole numbers of more than 64 bits.
    :raises InvalidType: for everything else.
    """
    if type(value) is not int:
        value = _parse_number(value)
    if not -LIMIT < value < LIMIT:
        raise InvalidValue(f"a count of {value!r} is out of range: no store adds it up exactly")
    result: int | float = value
    return result


def numbers(values: list[Any]) -> list[int | float]:
    """Return many values to be counted; see :func:`number`."""
    if len(values) > 1 and set(map(type, values)) == {int} and min(values) > -LIMIT and max(values) < LIMIT:
        return values
    return list(map(number, values))


def _parse_number(value: Any) -> int | float:
    try:
        if isinstance(value, (str, bytes)):
            try:
                return int(value)
            except ValueError:
                value = float(value)
        whole = int(value)
        # A Decimal or a Fraction is compared exactly; as a float it might have become another number.
        if whole == value:
            return whole
        return float(value)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"a count needs a finite number, not {value!r}") from error
    except TypeError as error:
        raise InvalidType(f"a count needs a number, not {value!r}") from error
