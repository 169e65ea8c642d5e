"""The caller's own pipeline, connection or session: nothing happens before the caller says so."""

from __future__ import annotations

from typing import Any

import pytest

from kairos.exceptions import KairosException

from .conftest import Clock
from .store import KEPT, TYPES, Store
from .test_insert import ROWS

HANDLES = {"redis": "pipeline", "mongo": "session", "sql": "connection"}


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_a_pipeline_executes_nothing_by_itself(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    pipeline = store.client.pipeline()
    series.insert("a", 3, timestamp=90, pipeline=pipeline)
    series.bulk_insert({90: {"a": [5]}}, pipeline=pipeline)
    series.insert("b", [3, 5], timestamp=30, intervals=1, pipeline=pipeline)
    assert store.look() == []
    pipeline.execute()
    assert series.get("a", "minute", timestamp=90) == {60: ROWS[kind]}
    assert series.get("a", "hour", timestamp=90) == {60: ROWS[kind]}
    assert series.get("b", "minute", timestamp=90) == {60: ROWS[kind]}


@pytest.mark.backends("redis")
@pytest.mark.parametrize("kind", TYPES)
def test_a_pipeline_that_is_dropped_has_written_nothing(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    pipeline = store.client.pipeline()
    series.insert("a", 3, timestamp=90, pipeline=pipeline)
    pipeline.reset()
    assert store.look() == []
    series.insert("a", 3, timestamp=90, pipeline=None)
    assert series.list() == ["a"]


@pytest.mark.backends("redis")
def test_a_pipeline_keeps_its_other_commands_and_every_expiry(store: Store, clock: Clock) -> None:
    series = store.make("count", KEPT)
    own = series._prefix + "own"
    for transaction in (False, True):
        options = {} if store.name == "redis-cluster" else {"transaction": transaction}
        pipeline = store.client.pipeline(**options)
        pipeline.set(own, "mine", ex=100)
        series.insert("a", 2, pipeline=pipeline)
        pipeline.get(own)
        replies = pipeline.execute()
        assert replies[-1] in (b"mine", "mine")
    assert series.get("a", "minute") == {clock.now // 60 * 60: 4}
    for key in store.redis_keys(series):
        assert store.client.ttl(key) > 0


@pytest.mark.backends("sql")
@pytest.mark.parametrize("kind", TYPES)
def test_a_connection_decides(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    with store.client.connect() as connection:
        with connection.begin() as transaction:
            series.insert("a", 3, timestamp=90, connection=connection)
            series.bulk_insert({90: {"a": [5]}}, connection=connection)
            transaction.rollback()
        assert store.look() == []
        assert series.get("a", "minute", timestamp=90) == series.get("none", "minute", timestamp=90)
        with connection.begin():
            series.insert("a", 3, timestamp=90, connection=connection)
            series.bulk_insert({90: {"a": [5]}}, connection=connection)
    assert series.get("a", "minute", timestamp=90) == {60: ROWS[kind]}
    assert series.get("a", "hour", timestamp=90) == {60: ROWS[kind]}


@pytest.mark.backends("sql")
def test_a_connection_takes_part_in_the_callers_transaction(store: Store) -> None:
    import sqlalchemy

    own = sqlalchemy.Table(
        f"{store.backend.namespace}_own",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("n", sqlalchemy.Integer),
    )
    own.create(store.client)
    series = store.make("count")
    rows = sqlalchemy.select(sqlalchemy.func.count()).select_from(own)
    with store.client.connect() as connection:
        # The very first insert: were it to make the table now, some servers would commit for that.
        connection.execute(own.insert().values(n=1))
        series.insert("a", 2, timestamp=90, connection=connection)
        connection.rollback()
        assert connection.execute(rows).scalar() == 0
        connection.rollback()
        connection.execute(own.insert().values(n=1))
        series.insert("a", 2, timestamp=90, connection=connection)
        savepoint = connection.begin_nested()
        series.insert("a", 5, timestamp=90, connection=connection)
        savepoint.rollback()
        connection.commit()
        assert connection.execute(rows).scalar() == 1
    assert series.get("a", "minute", timestamp=90) == {60: 2}


@pytest.mark.backends("sql")
def test_nobody_sees_what_is_not_committed(store: Store) -> None:
    if not store.backend.processes:
        pytest.skip("one connection serves all")
    series = store.make("count")
    series.insert("a", 1, timestamp=90)
    with store.client.connect() as connection:
        series.insert("a", 5, timestamp=90, connection=connection)
        assert series.get("a", "minute", timestamp=90) == {60: 1}
        connection.commit()
    assert series.get("a", "minute", timestamp=90) == {60: 6}


@pytest.mark.backends("mongo")
@pytest.mark.parametrize("kind", TYPES)
def test_a_session_is_used(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    with store.client.start_session() as session:
        series.insert("a", 3, timestamp=90, session=session)
        series.bulk_insert({90: {"a": [5]}}, session=session)
        # Only a session that was used knows a time of the server's.
        assert session.operation_time is not None or session.cluster_time is None
    assert series.get("a", "minute", timestamp=90) == {60: ROWS[kind]}


@pytest.mark.backends("mongo-replicaset")
@pytest.mark.parametrize("kind", TYPES)
def test_a_transaction_of_a_session_decides(store: Store, kind: str) -> None:
    series = store.numbers(kind)
    with store.client.start_session() as session:
        with session.start_transaction():
            series.insert("a", 3, timestamp=90, session=session)
            series.bulk_insert({90: {"a": [5]}}, session=session)
            session.abort_transaction()
        assert store.look() == []
        with session.start_transaction():
            series.insert("a", 3, timestamp=90, session=session)
            series.bulk_insert({90: {"a": [5]}}, session=session)
            assert series.list() == []
    assert series.get("a", "minute", timestamp=90) == {60: ROWS[kind]}


def test_the_handle_of_another_store_is_refused(store: Store) -> None:
    series = store.make("count")
    for kind, keyword in HANDLES.items():
        if kind == store.kind:
            continue
        wrong: dict[str, Any] = {keyword: object()}
        for call in (
            lambda wrong=wrong: series.insert("a", 1, **wrong),
            lambda wrong=wrong: series.bulk_insert({90: {"a": [1]}}, **wrong),
        ):
            with pytest.raises(TypeError, match=keyword) as caught:
                call()
            assert isinstance(caught.value, KairosException)
    assert store.look() == []


def test_no_handle_is_as_none(store: Store) -> None:
    series = store.make("count")
    handle: dict[str, Any] = {HANDLES[store.kind]: None}
    series.insert("a", 1, 90, **handle)
    series.bulk_insert({90: {"a": [1]}}, **handle)
    assert series.get("a", "minute", timestamp=90) == {60: 2}
