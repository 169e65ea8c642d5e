"""The five types as algebras: their laws, and their folds against one value at a time."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos.exceptions import InvalidType, InvalidValue
from kairos.types import (
    COUNT,
    GAUGE,
    HISTOGRAM,
    LIMIT,
    PARTIAL,
    PARTIALS,
    SERIES,
    SET,
    TRANSFORMS,
    Algebra,
    number,
)

ALGEBRAS: dict[str, Algebra] = {
    "series": SERIES,
    "histogram": HISTOGRAM,
    "count": COUNT,
    "gauge": GAUGE,
    "set": SET,
}

#: Whole numbers and dyadic fractions, which add up exactly in any order.
exact = st.one_of(st.integers(-(2**40), 2**40), st.integers(-(2**20), 2**20).map(lambda n: n / 8))
scalars = st.one_of(st.integers(-5, 5), st.text("ab", max_size=2), st.sampled_from([0.5, b"x", False]))
values: dict[str, st.SearchStrategy[Any]] = {
    "series": scalars,
    "histogram": scalars,
    "count": exact,
    "gauge": scalars,
    "set": scalars,
}
rows: dict[str, st.SearchStrategy[Any]] = {
    "series": st.lists(scalars, max_size=5),
    "histogram": st.dictionaries(scalars, st.integers(1, 9), max_size=5),
    "count": exact,
    "gauge": st.one_of(st.none(), scalars),
    "set": st.sets(scalars, max_size=5),
}

every_type = pytest.mark.parametrize("kind", ALGEBRAS)


def applied(kind: str, row: Any, value: Any) -> Any:
    """Return what a row is after one more insert, by the words of the specification."""
    if kind == "series":
        return [*row, value]
    if kind == "histogram":
        return {**row, value: row.get(value, 0) + 1}
    if kind == "count":
        return row + value
    if kind == "gauge":
        return value
    return {*row, value}


def one_by_one(kind: str, inserted: list[Any]) -> Any:
    """Return what a bucket holds after some inserts."""
    return reduce(lambda row, value: applied(kind, row, value), inserted, ALGEBRAS[kind].empty())


# --- the laws ------------------------------------------------------------------------------------------


@every_type
@given(data=st.data())
def test_monoid(kind: str, data: st.DataObject) -> None:
    algebra = ALGEBRAS[kind]
    one, two, three = (data.draw(rows[kind]) for _ in range(3))
    before = copy.deepcopy((one, two, three))
    everything = algebra.merge([one, two, three])
    assert algebra.merge([algebra.merge([one, two]), three]) == everything
    assert algebra.merge([one, algebra.merge([two, three])]) == everything
    assert algebra.merge([one, algebra.empty()]) == algebra.merge([algebra.empty(), one]) == one
    assert algebra.merge([]) == algebra.empty()
    # Any iterable will do.
    assert algebra.merge(iter([one, two, three])) == everything
    assert (one, two, three) == before


@every_type
def test_rows_are_new(kind: str) -> None:
    algebra = ALGEBRAS[kind]
    row = one_by_one(kind, [1, 2])
    merged = algebra.merge([row])
    assert merged == row
    if isinstance(row, (list, dict, set)):
        assert merged is not row
        assert algebra.empty() is not algebra.empty()
        assert algebra.merge([]) is not algebra.merge([])


@every_type
@given(data=st.data())
def test_fold_is_one_by_one(kind: str, data: st.DataObject) -> None:
    algebra = ALGEBRAS[kind]
    before = data.draw(st.lists(values[kind], max_size=5))
    inserted = data.draw(st.lists(values[kind], min_size=1, max_size=20))
    size = data.draw(st.integers(1, 5))
    untouched = copy.deepcopy(inserted)
    delta = algebra.fold(inserted)
    expected = one_by_one(kind, before + inserted)
    row = one_by_one(kind, before)
    assert algebra.merge([row, delta]) == expected
    # A delta that is cut into parts makes the same change, part by part.
    parts = list(algebra.split(delta, size))
    assert algebra.merge([row, *parts]) == expected
    if isinstance(delta, (list, dict)):
        assert all(0 < len(part) <= size for part in parts)
        assert all(type(part) is type(delta) for part in parts)
    else:
        assert parts == [delta]
    assert inserted == untouched
    assert algebra.fold(tuple(inserted)) == delta


@given(inserted=st.lists(scalars, min_size=1))
def test_deltas_are_of_their_own(inserted: list[Any]) -> None:
    assert SERIES.fold(inserted) is not inserted
    assert SET.fold(inserted) == list(dict.fromkeys(inserted))
    assert HISTOGRAM.fold(inserted) == Counter(inserted)


@pytest.mark.parametrize("algebra", [HISTOGRAM, SET])
@pytest.mark.parametrize("value", [{}, [], ([],)])
def test_values_that_no_set_can_hold(algebra: Algebra, value: Any) -> None:
    with pytest.raises(InvalidType, match=r"value .* can be neither a key of a histogram") as caught:
        algebra.fold(["fine", value])
    assert repr(value) in str(caught.value)


def test_gauge_that_is_not_set() -> None:
    assert GAUGE.merge([None, 1, None]) == 1
    for zero in (0, "", False):
        assert GAUGE.merge([1, zero, None]) is zero


def test_series_of_what_a_custom_read_made() -> None:
    # A fetch may answer with a length, and is condensed all the same.
    assert SERIES.merge([2, 3, 4]) == 9
    assert SERIES.merge([(1,), (2,)]) == (1, 2)


# --- numbers --------------------------------------------------------------------------------------------


@given(value=st.integers(1 - LIMIT, LIMIT - 1))
def test_whole_numbers(value: int) -> None:
    for spelled in (value, str(value), str(value).encode(), f" {value} ", Decimal(value), Fraction(value)):
        counted = number(spelled)
        assert counted == value
        assert type(counted) is int


@given(value=st.floats(-9e18, 9e18))
def test_floats(value: float) -> None:
    for spelled in (value, repr(value)):
        counted = number(spelled)
        assert counted == value
        assert type(counted) is (int if value.is_integer() else float)


@pytest.mark.parametrize(
    ("value", "counted"), [(True, 1), ("1e3", 1000), ("-0.5", -0.5), ("0x10", None), (Decimal("1.5"), 1.5)]
)
def test_spelled_numbers(value: Any, counted: float | None) -> None:
    if counted is None:
        with pytest.raises(InvalidValue):
            number(value)
    else:
        assert number(value) == counted
        assert type(number(value)) is type(counted)


@pytest.mark.parametrize(
    "value", ["", "five", "nan", "1,5", b"\xff", math.nan, math.inf, -math.inf, "inf", Decimal("nan")]
)
def test_no_number(value: Any) -> None:
    with pytest.raises(InvalidValue, match="a count needs a finite number") as caught:
        number(value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [None, [], [1], {}, object(), 1j, len])
def test_nothing_like_a_number(value: Any) -> None:
    with pytest.raises(InvalidType, match="a count needs a number") as caught:
        number(value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("value", [LIMIT, -LIMIT, str(LIMIT), 1e19, -1e300])
def test_number_out_of_range(value: Any) -> None:
    with pytest.raises(InvalidValue, match="out of range"):
        number(value)


def test_sum_out_of_range() -> None:
    with pytest.raises(InvalidValue, match=f"a count of {LIMIT} is out of range"):
        COUNT.fold([LIMIT - 1, 1])
    assert COUNT.fold([LIMIT - 1, 1, -1]) == LIMIT - 1


def test_counts_are_whole_while_they_can_be() -> None:
    assert type(COUNT.fold([1, 2])) is int
    assert type(COUNT.fold([0.5, 0.5])) is int
    assert type(COUNT.fold([0.5, 1])) is float


# --- transforms ------------------------------------------------------------------------------------------

#: Named transforms of a list of values, in the words of the specification.
OF_VALUES: dict[str, Callable[[list[Any], int], Any]] = {
    "mean": lambda inserted, seconds: sum(inserted) / len(inserted) if inserted else 0,
    "count": lambda inserted, seconds: len(inserted),
    "min": lambda inserted, seconds: min(inserted, default=0),
    "max": lambda inserted, seconds: max(inserted, default=0),
    "sum": lambda inserted, seconds: sum(inserted),
    "rate": lambda inserted, seconds: len(inserted) / seconds,
}


def expected_transform(kind: str, name: str, inserted: list[Any], seconds: int) -> Any:
    """Return what a named transform makes of a bucket after some inserts."""
    if kind == "count":
        return sum(inserted) / seconds
    if kind == "set":
        inserted = list(set(inserted))
    if kind == "histogram" and name == "rate":
        return {value: count / seconds for value, count in Counter(inserted).items()}
    return OF_VALUES[name](inserted, seconds)


def test_which_types_know_which_transforms() -> None:
    assert set(TRANSFORMS) == set(PARTIALS) == set(OF_VALUES)
    known = {kind: set(algebra.transforms) for kind, algebra in ALGEBRAS.items()}
    everything = set(OF_VALUES)
    assert known == {
        "series": everything,
        "histogram": everything,
        "count": {"rate"},
        "gauge": set(),
        "set": everything,
    }


@every_type
@given(data=st.data(), seconds=st.integers(1, 10**6))
def test_transforms(kind: str, data: st.DataObject, seconds: int) -> None:
    inserted = data.draw(st.lists(exact))
    row = one_by_one(kind, inserted)
    before = copy.deepcopy(row)
    for name, transform in ALGEBRAS[kind].transforms.items():
        assert transform(row, seconds) == expected_transform(kind, name, inserted, seconds)
    assert row == before


def partial_of(kind: str, name: str, inserted: list[Any]) -> dict[str, Any]:
    """Return the aggregates that a store computes of a bucket with data for a transform."""
    row = one_by_one(kind, inserted)
    its = list(row) if kind == "set" else inserted
    known = {
        "count": row if kind == "count" else len(its),
        "sum": sum(its),
        "min": min(its),
        "max": max(its),
    }
    return {partial: known[partial] for partial in PARTIALS[name]}


@every_type
@given(data=st.data(), seconds=st.integers(1, 10**6))
def test_partials_give_what_rows_give(kind: str, data: st.DataObject, seconds: int) -> None:
    algebra = ALGEBRAS[kind]
    # The members of two sets may be the same, so partials of sets are never merged.
    buckets = data.draw(
        st.lists(st.lists(exact, min_size=1), max_size=1 if kind == "set" else 4)
    )
    row = algebra.merge([one_by_one(kind, inserted) for inserted in buckets])
    assert algebra.derivable <= set(algebra.transforms)
    for name in algebra.derivable:
        partials = [partial_of(kind, name, inserted) for inserted in buckets]
        before = copy.deepcopy(partials)
        derived = PARTIAL.transforms[name](PARTIAL.merge(partials), seconds)
        expected = algebra.transforms[name](row, seconds)
        assert derived == expected
        assert type(derived) is type(expected)
        assert partials == before
    assert PARTIAL.merge([]) == PARTIAL.empty() == {}


@given(data=st.data())
def test_partials_are_a_monoid(data: st.DataObject) -> None:
    names = data.draw(st.sets(st.sampled_from(["count", "sum", "min", "max"]), min_size=1))
    one, two, three = (
        data.draw(st.fixed_dictionaries(dict.fromkeys(sorted(names), exact))) for _ in range(3)
    )
    everything = PARTIAL.merge([one, two, three])
    assert PARTIAL.merge([PARTIAL.merge([one, two]), three]) == everything
    assert PARTIAL.merge([one, PARTIAL.merge([two, three])]) == everything
    assert PARTIAL.merge([one]) == one


def test_rate_of_a_histogram_cannot_be_derived() -> None:
    assert "rate" not in HISTOGRAM.derivable
    assert HISTOGRAM.transforms["rate"]({"a": 3}, 6) == {"a": 0.5}
    assert HISTOGRAM.transforms["rate"]({}, 6) == {}
