"""The stages of a read: fetch, process_row, condense, join_rows, collapse, transform, in this order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from .store import MINUTE, TYPES, Store, as_number

EMPTY: dict[str, Any] = {"series": [], "histogram": {}, "count": 0, "gauge": None, "set": set()}


class Recorder:
    """Make hooks that note what they are given and return something that can be told apart."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __call__(self, label: str) -> Callable[[Any], Any]:
        """Return a hook of that name, which returns ``(label, argument)``."""

        def hook(given: Any) -> Any:
            self.calls.append((label, given))
            return label, given

        return hook

    @property
    def order(self) -> list[str]:
        """Return the names of the hooks in the order of their calls."""
        return [label for label, _ in self.calls]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def filled(store: Store) -> Any:
    """Return a series of two names, over two hours, with a gap."""
    series = store.numbers("series")
    for timestamp, value in ((0, 1), (30, 2), (60, 3), (7205, 4)):
        series.insert("a", value, timestamp)
    for timestamp, value in ((30, 5), (120, 6)):
        series.insert("b", value, timestamp)
    return series


# --- process_row -------------------------------------------------------------------------------------


def test_process_row_is_given_each_row_once(store: Store) -> None:
    series = filled(store)
    seen: list[Any] = []

    def process(raw: Any) -> int:
        seen.append(raw)
        return len(raw)

    assert series.get("a", "minute", timestamp=0, process_row=process) == {0: 2}
    assert len(seen) == 1
    assert series.get("a", "hour", timestamp=0, process_row=process) == {0: 2, 60: 1}
    assert len(seen) == 3
    got = series.series("a", "hour", start=0, steps=3, process_row=process)
    assert got == {0: {0: 2, 60: 1}, 3600: {}, 7200: {7200: 1}}
    # Numbers add up where no stage says otherwise.
    got = series.series("a", "hour", start=0, steps=3, process_row=process, condense=sum_of)
    assert got == {0: 3, 3600: 0, 7200: 1}


def sum_of(rows: Any) -> Any:
    """Add up the values of a mapping."""
    return sum(rows.values())


@pytest.mark.parametrize("kind", TYPES)
def test_process_row_replaces_read_func(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", 3, timestamp=0)
    got = series.get("a", "minute", timestamp=0, process_row=lambda raw: ["raw", type(raw)])
    ((label, _),) = got.values()
    assert label == "raw"
    got = series.get(
        "a", "minute", timestamp=0, process_row=lambda raw: "x", transform=lambda row: row * 2
    )
    assert got == {0: "xx"}


# --- condense ----------------------------------------------------------------------------------------


def test_condense_is_given_the_resolutions_of_each_interval(
    store: Store, recorder: Recorder
) -> None:
    series = filled(store)
    got = series.series("a", "hour", start=0, steps=3, condense=recorder("c"))
    rows = [OrderedDict([(0, [1, 2]), (60, [3])]), OrderedDict(), OrderedDict([(7200, [4])])]
    assert [given for _, given in recorder.calls] == rows
    assert all(isinstance(given, OrderedDict) for _, given in recorder.calls)
    assert got == {0: ("c", rows[0]), 3600: ("c", rows[1]), 7200: ("c", rows[2])}
    assert series.get("a", "hour", timestamp=0, condense=recorder("c")) == {0: ("c", rows[0])}


def test_condense_leaves_coarse_rows_as_they_are(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    for condense in (True, recorder("c")):
        got = series.series("a", "minute", start=0, steps=3, condense=condense)
        assert got == {0: [1, 2], 60: [3], 120: []}
    assert recorder.calls == []


def test_condense_comes_before_join_rows(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    got = series.series(
        ["a", "b"], "hour", start=0, steps=2, condense=recorder("c"), join_rows=recorder("j")
    )
    a, b = OrderedDict([(0, [1, 2]), (60, [3])]), OrderedDict([(0, [5]), (120, [6])])
    # What a name without data in the interval gives to join_rows is the type's empty value.
    assert got == {0: ("j", [("c", a), ("c", b)]), 3600: ("j", [[], []])}
    got = series.get(
        ["b", "none"], "hour", timestamp=0, condense=recorder("c"), join_rows=recorder("j")
    )
    assert got == {0: ("j", [("c", b), []])}


def test_a_built_in_condense_hands_one_row_per_name_to_join_rows(
    store: Store, recorder: Recorder
) -> None:
    series = filled(store)
    got = series.series(
        ["a", "b"], "hour", start=0, steps=2, condense=True, join_rows=recorder("j")
    )
    assert got == {0: ("j", [[1, 2, 3], [5, 6]]), 3600: ("j", [[], []])}
    got = series.get(["a", "none"], "hour", timestamp=0, condense=True, join_rows=recorder("j"))
    assert got == {0: ("j", [[1, 2, 3], []])}


def test_a_custom_condense_is_joined_by_the_type(store: Store) -> None:
    series = filled(store)

    def largest(rows: Any) -> list[Any]:
        return [max(value for row in rows.values() for value in row)]

    got = series.get(["a", "b"], "hour", timestamp=0, condense=largest)
    assert got == {0: [3, 6]}


def test_two_built_in_stages_arrange_by_time_first(store: Store) -> None:
    series = filled(store)
    series.insert("b", 7, timestamp=65)
    assert series.get(["a", "b"], "hour", timestamp=0, condense=True) == {0: [1, 2, 5, 3, 7, 6]}
    assert series.get(["b", "a"], "hour", timestamp=0, condense=True) == {0: [5, 1, 2, 7, 3, 6]}
    got = series.series(["b", "a"], "hour", start=0, end=7200, collapse=True)
    assert got == {0: [5, 1, 2, 7, 3, 6, 4]}
    assert series.get(["b", "a"], "hour", timestamp=0) == {0: [5, 1, 2], 60: [7, 3], 120: [6]}


# --- join_rows ---------------------------------------------------------------------------------------


def test_join_rows_is_given_one_row_per_name(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    got = series.get(["a", "b", "none"], "minute", timestamp=0, join_rows=recorder("j"))
    assert got == {0: ("j", [[1, 2], [5], []])}
    got = series.series(["a", "b"], "minute", start=0, steps=4, join_rows=recorder("j"))
    assert got == {
        0: ("j", [[1, 2], [5]]),
        60: ("j", [[3], []]),
        120: ("j", [[], [6]]),
        180: ("j", [[], []]),
    }


def test_join_rows_is_given_none_for_a_missing_resolution(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    got = series.series(["a", "b", "none"], "hour", start=0, steps=2, join_rows=recorder("j"))
    assert got == {
        0: {
            0: ("j", [[1, 2], [5], None]),
            60: ("j", [[3], None, None]),
            120: ("j", [None, [6], None]),
        },
        3600: {},
    }


@pytest.mark.parametrize("kind", TYPES)
def test_join_rows_gets_the_empty_value_of_the_type(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    series.insert("a", 3, timestamp=0)
    seen: list[Any] = []
    series.get(["none", "a"], "minute", timestamp=0, join_rows=seen.append)
    assert seen[0][0] == EMPTY[kind]
    assert type(seen[0][0]) is type(EMPTY[kind])
    series.get(["none", "a"], "hour", timestamp=0, condense=True, join_rows=seen.append)
    assert seen[1] == seen[0]
    series.get(["none", "a"], "hour", timestamp=0, join_rows=seen.append)
    assert seen[2] == [None, seen[0][1]]


def test_a_single_name_is_not_joined(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    assert series.get("a", "minute", timestamp=0, join_rows=recorder("j")) == {0: [1, 2]}
    assert series.get(["a"], "minute", timestamp=0, join_rows=recorder("j")) == {0: ("j", [[1, 2]])}


# --- collapse ----------------------------------------------------------------------------------------


def test_collapse_is_given_all_intervals(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    got = series.series("a", "minute", start=10, steps=3, collapse=recorder("x"))
    rows: Any = OrderedDict([(0, [1, 2]), (60, [3]), (120, [])])
    assert got == {0: ("x", rows)}
    assert isinstance(recorder.calls[0][1], OrderedDict)
    got = series.series("a", "hour", start=10, steps=3, collapse=recorder("x"))
    assert got == {0: ("x", OrderedDict([(0, [1, 2, 3]), (3600, []), (7200, [4])]))}
    got = series.series(["a", "b"], "minute", start=10, steps=2, collapse=recorder("x"))
    assert got == {0: ("x", OrderedDict([(0, [1, 2, 5]), (60, [3])]))}
    got = series.series("a", "hour", end=7210, steps=2, collapse=True)
    assert got == {3600: [4]}


def test_a_custom_condense_also_collapses(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    got = series.series("a", "hour", start=0, steps=2, condense=recorder("c"), collapse=True)
    inner = {0: ("c", {0: [1, 2], 60: [3]}), 3600: ("c", {})}
    assert got == {0: ("c", inner)}
    assert recorder.order == ["c", "c", "c"]
    got = series.series("a", "minute", start=0, steps=2, condense=recorder("c"), collapse=True)
    assert got == {0: ("c", {0: [1, 2], 60: [3]})}
    got = series.series(
        "a", "hour", start=0, steps=2, condense=recorder("c"), collapse=recorder("x")
    )
    assert got == {0: ("x", inner)}


# --- all together ------------------------------------------------------------------------------------


def test_stages_run_in_their_order(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    got = series.series(
        ["a", "b"],
        "hour",
        start=0,
        steps=2,
        process_row=recorder("p"),
        condense=recorder("c"),
        join_rows=recorder("j"),
        collapse=recorder("x"),
        transform=recorder("t"),
    )
    # Rows of four resolutions, two names with data; both hours are joined.
    assert recorder.order == ["p", "p", "c", "p", "p", "c", "j", "j", "x", "t"] or (
        recorder.order == ["p", "p", "p", "p", "c", "c", "j", "j", "x", "t"]
    )
    ((first, (label, (inner, joined))),) = got.items()
    assert (first, label, inner) == (0, "t", "x")
    assert list(joined) == [0, 3600]
    assert joined[0][0] == "j"
    assert [row[0] for row in joined[0][1]] == ["c", "c"]


def test_a_transform_runs_once_per_row_that_is_returned(store: Store, recorder: Recorder) -> None:
    series = filled(store)
    expected: list[tuple[dict[str, Any], list[Any]]] = [
        ({}, [[1, 2], [3], [4]]),
        ({"condense": True}, [[1, 2, 3], [], [4]]),
        ({"collapse": True}, [[1, 2, 3, 4]]),
        ({"collapse": True, "condense": True}, [[1, 2, 3, 4]]),
    ]
    for stages, rows in expected:
        recorder.calls.clear()
        series.series("a", "hour", start=0, steps=3, transform=recorder("t"), **stages)
        assert [row for _, row in recorder.calls] == rows


# --- fetch -------------------------------------------------------------------------------------------


@pytest.mark.backends("redis")
def test_redis_fetch_is_given_a_handle_and_a_key(store: Store) -> None:
    series = filled(store)
    calls: list[tuple[Any, str]] = []

    def fetch(handle: Any, key: str) -> Any:
        calls.append((handle, key))
        return handle.lrange(key, 0, -1)

    def keys(*ends: str) -> list[str]:
        return [series._prefix + end for end in ends]

    def called() -> list[str]:
        found = [key for _, key in calls]
        calls.clear()
        return found

    for names in ("a", ["a", "b"]):
        for interval in ("minute", "hour"):
            for stages in ({}, {"condense": True}):
                got = series.get(names, interval, timestamp=0, fetch=fetch, **stages)
                assert got == series.get(names, interval, timestamp=0, **stages)
                got = series.series(names, interval, start=0, steps=3, fetch=fetch, **stages)
                assert got == series.series(names, interval, start=0, steps=3, **stages)
    calls.clear()
    # A coarse get of one name is given the client, everything else a pipeline.
    series.get("a", "minute", timestamp=0, fetch=fetch)
    assert calls[0][0] is store.client
    assert called() == keys("a:minute:0")
    series.get(["a", "b"], "minute", timestamp=0, fetch=fetch)
    assert calls[0][0] is calls[1][0] is not store.client
    assert called() == keys("a:minute:0", "b:minute:0")
    series.get("a", "hour", timestamp=0, fetch=fetch)
    assert calls[0][0] is not store.client
    assert sorted(called()) == keys("a:hour:0:0", "a:hour:0:1")
    series.series("b", "minute", start=0, steps=2, fetch=fetch)
    assert called() == keys("b:minute:0", "b:minute:1")

    def length(handle: Any, key: str) -> Any:
        return handle.llen(key)

    plain: dict[str, Any] = {"fetch": length, "process_row": lambda row: row}
    assert series.get("a", "minute", timestamp=0, **plain) == {0: 2}
    assert series.get("a", "hour", timestamp=0, **plain) == {0: 2, 60: 1}
    got = series.series("a", "hour", start=0, steps=1, condense=sum_of, **plain)
    assert got == {0: 3}


@pytest.mark.backends("mongo")
def test_mongo_fetch_is_given_a_query(store: Store) -> None:
    series = filled(store)
    calls: list[Any] = []

    def fetch(handle: Any, *, spec: Any, sort: Any, method: str) -> Any:
        calls.append((handle.name, spec, method))
        if method == "find":
            return handle.find(spec, sort=sort)
        return handle.find_one(spec)

    for names in ("a", ["a", "b"], "none"):
        for interval in ("minute", "hour"):
            for stages in ({}, {"condense": True}):
                got = series.get(names, interval, timestamp=0, fetch=fetch, **stages)
                assert got == series.get(names, interval, timestamp=0, **stages)
                got = series.series(names, interval, start=0, steps=3, fetch=fetch, **stages)
                assert got == series.series(names, interval, start=0, steps=3, **stages)
    calls.clear()
    series.get("a", "minute", timestamp=0, fetch=fetch)
    series.get("a", "hour", timestamp=0, fetch=fetch)
    series.series("a", "minute", start=0, steps=2, fetch=fetch)
    assert [(name, method) for name, _, method in calls] == [
        ("minute", "find_one"),
        ("hour", "find"),
        ("minute", "find"),
    ]
    assert calls[0][1]["name"] == "a"
    assert calls[0][1]["interval"] == 0

    def first_value(handle: Any, **query: Any) -> Any:
        return {"value": 5}

    got = series.get("a", "minute", timestamp=0, fetch=first_value, process_row=lambda row: row)
    assert got == {0: 5}
    got = series.series(
        "a",
        "hour",
        start=0,
        steps=2,
        fetch=lambda handle, **query: [{"value": 5, "interval": 1, "resolution": 70}],
        process_row=lambda row: row + 1,
    )
    assert got == {0: {}, 3600: {4200: 6}}


@pytest.mark.backends("sql")
def test_sql_fetch_is_given_a_connection_and_the_table(store: Store) -> None:
    import sqlalchemy

    series = filled(store)
    calls: list[Any] = []

    def fetch(
        connection: Any, table: Any, name: str, interval: str, i_time: int, i_end: Any = None
    ) -> Any:
        calls.append((name, interval, i_time, i_end))
        assert isinstance(connection, sqlalchemy.Connection)
        assert isinstance(table, sqlalchemy.Table)
        where = [table.c.name == name, table.c.interval == interval]
        if i_end is None:
            where.append(table.c.i_time == i_time)
        else:
            where.append(table.c.i_time.between(i_time, i_end))
        query = (
            table.select()
            .where(*where)
            .order_by(table.c.i_time, table.c.r_time, table.c.insert_time)
        )
        rows: Any = {}
        for row in connection.execute(query):
            rows.setdefault(row.i_time, {}).setdefault(row.r_time, []).append(row.value)
        return rows

    series.insert("c", 8, timestamp=7200)
    for names in ("c", ["c", "none"], "none"):
        for interval in ("minute", "hour"):
            for stages in ({}, {"condense": True}):
                got = series.get(names, interval, timestamp=7200, fetch=fetch, **stages)
                assert got == series.get(names, interval, timestamp=7200, **stages)
                got = series.series(names, interval, start=0, steps=3, fetch=fetch, **stages)
                assert got == series.series(names, interval, start=0, steps=3, **stages)
    calls.clear()
    series.get("a", "minute", timestamp=60, fetch=fetch)
    series.get("a", "hour", timestamp=60, fetch=fetch)
    series.series(["a", "b"], "minute", start=60, steps=3, fetch=fetch)
    assert [call[:3] for call in calls] == [
        ("a", "minute", 1),
        ("a", "hour", 0),
        ("a", "minute", 1),
        ("b", "minute", 1),
    ]
    assert [call[3] for call in calls[:2]] == [None, None]
    assert calls[2][3] == 3

    def constant(
        connection: Any, table: Any, name: str, interval: str, i_time: int, i_end: Any = None
    ) -> Any:
        return {i_time: {None: 5}}

    got = series.get("a", "minute", timestamp=60, fetch=constant, process_row=lambda row: row)
    assert got == {60: 5}


def fetch_nothing(*args: Any, **kwargs: Any) -> Any:
    """Fetch in place of any backend, and find nothing."""
    return {} if len(args) > 2 else None


@pytest.mark.backends("mongo", "sql")
@pytest.mark.parametrize("kind", TYPES)
def test_fetch_may_find_nothing(store: Store, kind: str) -> None:
    series = store.numbers(kind, MINUTE)
    series.insert("a", 3, timestamp=60)
    assert series.get("a", "minute", timestamp=60, fetch=fetch_nothing) == {60: EMPTY[kind]}


def test_fetch_keeps_transforms_from_the_store(store: Store) -> None:
    """A custom fetch decides what is counted, so the count is not asked of the store."""
    series = filled(store)
    if store.kind == "redis":

        def fetch(handle: Any, key: Any) -> Any:
            return handle.lrange(key, 0, 0)

    elif store.kind == "mongo":

        def fetch(handle: Any, **query: Any) -> Any:  # type: ignore[misc]
            return {"value": [1]}

    else:

        def fetch(*args: Any) -> Any:  # type: ignore[misc]
            return {args[4]: {None: [1]}}

    got = series.get("a", "minute", timestamp=0, fetch=fetch, transform=["count", "sum"])
    assert got == {0: {"count": 1, "sum": 1}}


def test_read_func_sees_each_value_once(store: Store) -> None:
    seen: list[Any] = []

    def read(value: Any) -> Any:
        seen.append(value)
        return as_number(value)

    series = store.make("series", read_func=read)
    series.insert("a", [1, 2, 3], timestamp=60)
    seen.clear()
    assert series.get("a", "minute", timestamp=60, transform=[sum, len]) == {60: {sum: 6, len: 3}}
    assert list(map(float, seen)) == [1, 2, 3]
