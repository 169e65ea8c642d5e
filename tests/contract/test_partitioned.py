"""Tables that a database administrator has divided: PostgreSQL's partitions."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Clock
from .store import KEPT, Store

PARTITIONS = 4
COLUMNS = {
    "series": "value double precision NOT NULL, insert_time double precision NOT NULL",
    "count": "count double precision NOT NULL",
}
INDEXES = {
    "series": "INDEX ON {} (name, interval, i_time, r_time, insert_time, value)",
    "count": "UNIQUE INDEX ON {} (name, interval, i_time, COALESCE(r_time, -9223372036854775807))",
}


@pytest.mark.backends("postgresql")
@pytest.mark.parametrize("kind", COLUMNS)
def test_partitions_by_name(store: Store, kind: str, clock: Clock) -> None:
    """Rows of different partitions share their row ids, and must not share their fate."""
    table = store.backend.location(kind)
    with store.client.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {table} (name varchar(255) NOT NULL, interval varchar(255) NOT NULL, "
            f"i_time bigint NOT NULL, r_time bigint, {COLUMNS[kind]}) PARTITION BY HASH (name)"
        )
        for number in range(PARTITIONS):
            connection.exec_driver_sql(
                f"CREATE TABLE {table}_{number} PARTITION OF {table} "
                f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
            )
        connection.exec_driver_sql(f"CREATE {INDEXES[kind].format(table)}")
    try:
        check_partitions(store.make(kind, KEPT), clock)
    finally:
        with store.client.begin() as connection:
            # The partitions go with it; one by one they could not be dropped.
            connection.exec_driver_sql(f"DROP TABLE {table}")


def check_partitions(series: Any, clock: Clock) -> None:
    """Write many names, take one away and let others expire."""
    names = [f"n{number:02d}" for number in range(20)]
    old = clock.now - 86400 * 40
    for name in names:
        for timestamp in (clock.now, clock.now, old):
            series.insert(name, 1, timestamp=timestamp)

    def rows(name: str, timestamp: Any = None) -> list[Any]:
        return list(series.get(name, "minute", timestamp=timestamp, transform=_total).values())

    assert [rows(name) for name in names] == [[2]] * len(names)
    assert series.delete(names[0]) > 0
    assert series.list() == names[1:]
    series.expire(names[1])
    assert [rows(name, old) for name in names[1:]] == [[0]] + [[1]] * (len(names) - 2)
    series.expire()
    assert [rows(name) for name in names[1:]] == [[2]] * (len(names) - 1)
    assert [rows(name, old) for name in names[1:]] == [[0]] * (len(names) - 1)


def _total(row: Any) -> Any:
    return sum(row) if isinstance(row, list) else row
