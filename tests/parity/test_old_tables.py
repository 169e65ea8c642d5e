"""Tables that the original made, on every SQL server: used as they are, and safe for many writers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.contract.store import BOTH, TYPES, Store, as_number
from tests.contract.test_concurrency import at_once

TYPES_OF_OLD = [kind for kind in TYPES if kind != "set"]  # the original had no sets on SQL


def old_table(store: Store, kind: str) -> Any:
    """Make the table of a type as the original did; its rule does not hold with NULL in r_time."""
    import sqlalchemy as sa

    payload: dict[str, list[Any]] = {
        "series": [
            sa.Column("value", sa.Float, nullable=False),
            sa.Column("insert_time", sa.Float, nullable=False),
        ],
        "histogram": [
            sa.Column("value", sa.Float, nullable=False),
            sa.Column("count", sa.Integer, nullable=False),
        ],
        "count": [sa.Column("count", sa.Integer, nullable=False)],
        "gauge": [sa.Column("value", sa.Float, nullable=False)],
    }
    unique = ["name", "interval", "i_time", "r_time"]
    if kind == "histogram":
        unique.append("value")
    table = sa.Table(
        store.backend.location(kind),
        sa.MetaData(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("interval", sa.String(255), nullable=False),
        sa.Column("i_time", sa.Integer, nullable=False),
        sa.Column("r_time", sa.Integer),
        *payload[kind],
        *([] if kind == "series" else [sa.UniqueConstraint(*unique)]),
    )
    table.create(store.client)
    return table


@pytest.mark.backends("sql")
@pytest.mark.parametrize("kind", TYPES_OF_OLD)
def test_no_update_of_an_old_table_is_lost(store: Store, kind: str) -> None:
    if not store.backend.threads:
        pytest.skip("each thread has a database of its own")
    table = old_table(store, kind)
    with store.client.begin() as connection:
        row: dict[str, Any] = {"name": "a", "interval": "minute", "i_time": 1, "r_time": None}
        row.update({"value": 3.0, "insert_time": 1.5, "count": 2})
        connection.execute(
            table.insert().values(
                {key: row[key] for key in [column.name for column in table.columns]}
            )
        )
    series = store.numbers(kind)
    assert series.list() == ["a"]

    def work(number: int) -> None:
        for step in range(6):
            series.insert("a", [1, 2], timestamp=90)
            series.bulk_insert({100: {"a": [1], "b": [number]}, 3700: {"b": [step]}})

    at_once(work, 4)
    (minute,) = series.get("a", "minute", timestamp=90).values()
    (hour,) = series.get("a", "hour", timestamp=90).values()
    if kind == "series":
        assert minute[0] == 3
        assert Counter(minute) == {3: 1, 1: 48, 2: 24}
        assert Counter(hour) == {1: 48, 2: 24}
    elif kind == "histogram":
        assert minute == {3: 2, 1: 48, 2: 24}
        assert hour == {1: 48, 2: 24}
    elif kind == "count":
        assert (minute, hour) == (2 + 96, 96)
        assert series.get("b", "hour", timestamp=3700) == {3660: 60}
    else:
        assert minute in (1, 2)
    rows = store.look()
    if kind == "series":
        assert series.delete("a") + series.delete("b") == 1 + 4 * 6 * (6 + 4)
    else:
        keys = ["name", "interval", "i_time", "r_time", *(["value"] if kind == "histogram" else [])]
        found = [tuple(row[key] for key in keys) for row in rows]
        assert len(found) == len(set(found))
        assert series.delete("a") + series.delete("b") == len(rows)


@pytest.mark.backends("sql")
@pytest.mark.parametrize("kind", TYPES_OF_OLD)
def test_old_and_new_tables_answer_alike(store: Store, kind: str) -> None:
    # The rule of an old table on MariaDB takes these for one name, and the server refuses the second one.
    names = ["a", "ab"] if store.name == "mariadb" else ["a", "A", "a "]
    new = store.backend.make(kind, BOTH, read_func=as_number, space="new")
    old_table(store, kind)
    old = store.numbers(kind)
    for series in (old, new):
        for timestamp, value in ((90, 3), (91, 5), (150, 3), (7300, 4), (-5, 2)):
            for number, name in enumerate(names):
                series.insert(name, value + number, timestamp)
        series.bulk_insert((60 * number, "b", number % 3) for number in range(100))
    for name in (*names, "b", ["a", "b"], "none"):
        for transform in (None, "count", ["sum", "mean"]):
            for interval in BOTH:
                span: dict[str, Any] = {"start": -3600, "end": 7300, "transform": transform}
                for stages in ({}, {"condense": True}, {"collapse": True}):
                    assert old.series(name, interval, **span, **stages) == new.series(
                        name, interval, **span, **stages
                    )
    assert old.list() == new.list() == sorted([*names, "b"])
    assert old.properties("a") == new.properties("a")
    assert old.delete("a") == new.delete("a")
    assert old.list() == new.list()
