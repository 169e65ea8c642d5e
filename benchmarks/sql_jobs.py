"""SQL: kairos, and what a careful engineer would write for the same rows with SQLAlchemy's core."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import kairos

from . import workload
from .bench import need
from .harness import Contender, Job, Local, Role, Target, at_most, local, plain, times_faster
from .original import OriginalFailed, Remote
from .relay import Relay, counted

if TYPE_CHECKING:
    from .bench import Bench

Row = dict[str, Any]

#: Stores, and the ports that their servers listen on; SQLite has no server.
_PORTS: Final = {"sqlite": 0, "postgresql": 5432, "mariadb": 3306}
#: The columns of each type besides those of the bucket.
_PAYLOADS: Final = {
    "series": ("value", "insert_time"),
    "histogram": ("value", "count"),
    "count": ("count",),
    "gauge": ("value",),
    "set": ("value",),
}
_PLACE: Final = ("name", "interval", "i_time", "r_time")
#: What kairos's rule of uniqueness has in place of NULL.
_NO_BUCKET: Final = 'COALESCE("r_time", -9223372036854775807)'
#: Of values written one by one: a few tell what each costs.
_FEW: Final = 50


class ByHand:
    """Do the jobs for these three intervals, and nothing more, in a table as kairos makes it."""

    def __init__(self, engine: Any, table_name: str, type: str) -> None:
        import sqlalchemy as sa

        self._engine = engine
        self._type = type
        self._sa = sa
        self.columns = (*_PLACE, *_PAYLOADS[type])
        types: dict[str, Any] = {"name": sa.String(255), "interval": sa.String(255)}
        types |= {"i_time": sa.BigInteger(), "r_time": sa.BigInteger()}
        self._table = sa.Table(
            table_name,
            sa.MetaData(),
            *(sa.Column(each, types.get(each, sa.Double())) for each in self.columns),
        )
        self._insert = self._table.insert()
        self._updates = self._make_updates()
        self._upsert = self._make_upsert()
        self._day_start = self._day_end = self._day = 0
        # A single SELECT needs no transaction.
        reader = engine
        if engine.dialect.name == "postgresql":
            reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reader = reader

    def _make_upsert(self) -> Any:
        """Return the statement that adds a row to what is there."""
        from sqlalchemy.dialects import mysql, postgresql, sqlite

        table, type = self._table, self._type
        dialect = self._engine.dialect.name
        inserts: dict[str, Any] = {
            "sqlite": sqlite.insert,
            "postgresql": postgresql.insert,
            "mysql": mysql.insert,
        }
        insert = inserts[dialect](table)
        # MariaDB's rows have a generated column, which takes no value.
        insert = insert.values({column: self._sa.bindparam(column) for column in self.columns})
        if type == "series":
            return insert
        if dialect == "mysql":
            new = insert.inserted
            if type == "set":
                return insert.on_duplicate_key_update(i_time=table.c.i_time)
            if type == "gauge":
                return insert.on_duplicate_key_update(value=new.value)
            return insert.on_duplicate_key_update(count=table.c.count + new.count)
        elements: list[Any] = [table.c.name, table.c.interval, table.c.i_time]
        elements.append(self._sa.literal_column(_NO_BUCKET))
        if type in ("histogram", "set"):
            elements.append(table.c.value)
        if type == "set":
            return insert.on_conflict_do_nothing(index_elements=elements)
        new = insert.excluded
        changes = {"value": new.value} if type == "gauge" else {"count": table.c.count + new.count}
        return insert.on_conflict_do_update(index_elements=elements, set_=changes)

    def text(self, rows: str) -> str:
        """Return the same statement as text.

        :param rows: what stands for the rows, from VALUES on.
        """
        quote = self._engine.dialect.identifier_preparer.quote
        names = {column: quote(column) for column in self.columns}
        text = f"INSERT INTO {self._table.name} ({', '.join(names.values())}) {rows}"
        if self._type == "series":
            return text
        mysql = self._engine.dialect.name == "mysql"
        changes = {"set": "i_time = i_time" if mysql else "", "gauge": "value = {new}"}
        column = names.get("count") or names["value"]
        new = f"VALUES({column})" if mysql else f"excluded.{column}"
        change = changes.get(self._type, f"{column} = {self._table.name}.{column} + {{new}}")
        change = change.format(new=new)
        if mysql:
            return f"{text} ON DUPLICATE KEY UPDATE {change}"
        value = ", value" if self._type in ("histogram", "set") else ""
        key = f"{names['name']}, {names['interval']}, i_time, {_NO_BUCKET}{value}"
        return f"{text} ON CONFLICT ({key}) DO {f'UPDATE SET {change}' if change else 'NOTHING'}"

    def _day_of(self, timestamp: int) -> int:
        if not self._day_start <= timestamp < self._day_end:
            self._day_start = timestamp - timestamp % 86400
            self._day_end = self._day_start + 86400
            self._day = int(time.strftime("%Y%m%d", time.gmtime(timestamp)))
        return self._day

    def _payload(self, value: Any) -> Row:
        if self._type == "count":
            return {"count": value}
        if self._type == "histogram":
            return {"value": value, "count": 1}
        return {"value": value}

    def _places(self, name: str) -> list[Row]:
        """Return the places of a value of now, in an order that all writers keep."""
        now = int(time.time())
        minute, hour = now // 60, now // 3600
        return [
            {"name": name, "interval": "daily", "i_time": self._day_of(now), "r_time": hour},
            {"name": name, "interval": "hour", "i_time": hour, "r_time": minute},
            {"name": name, "interval": "minute", "i_time": minute, "r_time": None},
        ]

    def rows(self, name: str, value: Any) -> list[Row]:
        """Return the rows of a value of now."""
        rows = self._places(name)
        arrival = time.time()
        for index, row in enumerate(rows):
            row.update(self._payload(value))
            if self._type == "series":
                row["insert_time"] = arrival + index * 1e-6
        return rows

    def insert(self, name: str, value: Any) -> None:
        """Write a value by one statement for many rows, in one transaction."""
        with self._engine.begin() as connection:
            connection.execute(self._upsert, self.rows(name, value))

    def values_insert(self) -> Callable[[str, Any], None]:
        """Return a function that writes a value by one statement of text with three rows."""
        columns = self.columns
        marker = "?" if self._engine.dialect.name == "sqlite" else "%s"
        row = f"({', '.join([marker] * len(columns))})"
        text = self.text(f"VALUES {', '.join([row] * 3)}")

        def insert(name: str, value: Any) -> None:
            rows = self.rows(name, value)
            parameters = tuple(row[column] for row in rows for column in columns)
            with self._engine.begin() as connection:
                connection.exec_driver_sql(text, parameters)

        return insert

    def _make_updates(self) -> dict[bool, Any]:
        """Return the original's update of a bucket, without and with a resolution bucket."""
        table, bind = self._table, self._sa.bindparam
        column = "value" if self._type in ("series", "gauge", "set") else "count"
        new = bind("new") if column == "value" else table.c.count + bind("new")
        found = {}
        for resolved in (False, True):
            bucket = table.c.r_time == bind("r") if resolved else table.c.r_time.is_(None)
            update = table.update().where(
                table.c.name == bind("n"),
                table.c.interval == bind("i"),
                table.c.i_time == bind("t"),
                bucket,
            )
            if self._type == "histogram":
                update = update.where(table.c.value == bind("v"))
            found[resolved] = update.values({column: new})
        return found

    def pattern(self, name: str, value: Any) -> None:
        """Write a value as the original does: for each bucket UPDATE, INSERT if there was no row, COMMIT."""
        for row in self.rows(name, value):
            changed = 0
            if self._type != "series":
                parameters = {
                    "n": name,
                    "i": row["interval"],
                    "t": row["i_time"],
                    "r": row["r_time"],
                }
                parameters["new"] = row.get("count", value)
                if self._type == "histogram":
                    parameters["v"] = value
                if row["r_time"] is None:
                    del parameters["r"]
                update = self._updates[row["r_time"] is not None]
                with self._engine.begin() as connection:
                    changed = connection.execute(update, parameters).rowcount
            if not changed:
                with self._engine.begin() as connection:
                    connection.execute(self._insert, row)

    def bulk(self, inserts: workload.Inserts) -> None:
        """Write many counts or series: merged, in one transaction."""
        rows = list(self._merged(inserts) if self._type == "count" else self._spread(inserts))
        if self._engine.dialect.name == "postgresql":
            self._unnest(rows)
            return
        with self._engine.begin() as connection:
            connection.execute(self._upsert, rows)

    def _merged(self, inserts: workload.Inserts) -> Iterator[Row]:
        minutes: dict[tuple[str, int], Any] = {}
        for timestamp, names in inserts.items():
            minute = int(timestamp) // 60
            for name, values in names.items():
                place = name, minute
                minutes[place] = minutes.get(place, 0) + sum(values)
        hours: dict[tuple[str, int], Any] = {}
        for (name, minute), total in minutes.items():
            hour = minute // 60
            hours[name, hour] = hours.get((name, hour), 0) + total
            yield {
                "name": name,
                "interval": "minute",
                "i_time": minute,
                "r_time": None,
                "count": total,
            }
            yield {
                "name": name,
                "interval": "hour",
                "i_time": hour,
                "r_time": minute,
                "count": total,
            }
        for (name, hour), total in hours.items():
            day = self._day_of(hour * 3600)
            yield {"name": name, "interval": "daily", "i_time": day, "r_time": hour, "count": total}

    def _spread(self, inserts: workload.Inserts) -> Iterator[Row]:
        arrival = time.time()
        for timestamp, names in inserts.items():
            second = int(timestamp)
            minute, hour, day = second // 60, second // 3600, self._day_of(second)
            for name, values in names.items():
                for value in values:
                    arrival += 1e-6
                    for interval, i_time, r_time in (
                        ("minute", minute, None),
                        ("hour", hour, minute),
                        ("daily", day, hour),
                    ):
                        yield {
                            "name": name,
                            "interval": interval,
                            "i_time": i_time,
                            "r_time": r_time,
                            "value": value,
                            "insert_time": arrival,
                        }

    def _unnest(self, rows: Sequence[Row]) -> None:
        """Write rows as PostgreSQL takes many of them best: an array for each column."""
        types = {"name": "text", "interval": "text", "i_time": "bigint", "r_time": "bigint"}
        arrays = ", ".join(f"%s::{types.get(column, 'float8')}[]" for column in self.columns)
        with self._engine.begin() as connection:
            connection.exec_driver_sql(
                self.text(f"SELECT * FROM unnest({arrays})"),
                tuple([row[column] for row in rows] for column in self.columns),
            )

    # --- reading -----------------------------------------------------------------------------------------

    def _select(self, columns: str, order: str, group: bool = False) -> Any:
        """Return a statement that reads a range of buckets.

        :param columns: their names; that of a sum begins with a plus.
        """
        c = self._table.c
        bind = self._sa.bindparam
        chosen = [
            self._sa.func.sum(c[each[1:]]) if each.startswith("+") else c[each]
            for each in columns.split()
        ]
        select = self._sa.select(*chosen).where(
            c.name == workload.NAME,
            c.interval == bind("i"),
            c.i_time.between(bind("first"), bind("last")),
        )
        if group:
            select = select.group_by(*(c[each] for each in order.split()))
        return select.order_by(*(c[each] for each in order.split()))

    def _ask(self, select: Any, interval: str = "hour") -> Iterator[Any]:
        step, count = (3600, workload.HOURS) if interval == "hour" else (60, workload.COARSE)
        first = workload.START // step
        with self._reader.connect() as connection:
            yield from connection.execute(
                select, {"i": interval, "first": first, "last": first + count - 1}
            )

    @staticmethod
    def _hours(empty: Callable[[], Any]) -> OrderedDict[int, Any]:
        first = workload.START // 3600
        return OrderedDict((hour * 3600, empty()) for hour in range(first, first + workload.HOURS))

    def rows_reader(self) -> Callable[[], object]:
        """Return a function that reads two days of a series, minute by minute."""
        select = self._select("i_time r_time value", "i_time r_time insert_time")

        def read() -> object:
            rows = self._hours(OrderedDict)
            for i_time, r_time, value in self._ask(select):
                row, moment = rows[i_time * 3600], r_time * 60
                if moment in row:
                    row[moment].append(value)
                else:
                    row[moment] = [value]
            return rows

        return read

    def counts_reader(self) -> Callable[[], object]:
        """Return a function that reads two days of a count, minute by minute."""
        select = self._select("i_time r_time count", "i_time r_time")

        def read() -> object:
            rows = self._hours(OrderedDict)
            for i_time, r_time, count in self._ask(select):
                rows[i_time * 3600][r_time * 60] = int(count)
            return rows

        return read

    def condensed_reader(self) -> Callable[[], object]:
        """Return a function that reads two days, the values of an hour as one list."""
        select = self._select("i_time value", "i_time r_time insert_time")

        def read() -> object:
            rows = self._hours(list)
            for i_time, value in self._ask(select):
                rows[i_time * 3600].append(value)
            return rows

        return read

    def sums_reader(self) -> Callable[[], object]:
        """Return a function that reads the sum of each minute of two days, as the server adds it up."""
        select = self._select("i_time r_time +value", "i_time r_time", group=True)

        def read() -> object:
            rows = self._hours(OrderedDict)
            for i_time, r_time, total in self._ask(select):
                rows[i_time * 3600][r_time * 60] = total
            return rows

        return read

    def condensed_sums_reader(self) -> Callable[[], object]:
        """Return a function that reads the sum of each hour of two days, as the server adds it up."""
        select = self._select("i_time +value", "i_time", group=True)

        def read() -> object:
            rows = self._hours(int)
            for i_time, total in self._ask(select):
                rows[i_time * 3600] = total
            return rows

        return read

    def coarse_reader(self) -> Callable[[], object]:
        """Return a function that reads two hours of a coarse interval."""
        select = self._select("i_time value", "i_time insert_time")
        first = workload.START // 60

        def read() -> object:
            rows: OrderedDict[int, Any] = OrderedDict(
                (minute * 60, []) for minute in range(first, first + workload.COARSE)
            )
            for i_time, value in self._ask(select, "minute"):
                rows[i_time * 60].append(value)
            return rows

        return read


def _by_driver(store: Store, table: str, type: str) -> Callable[[str, Any], None]:
    """Return an insert by the plain sqlite3 module."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    store.stack.callback(connection.close)
    connection.execute("PRAGMA synchronous = NORMAL")
    hand = ByHand(store.engine, table, type)
    columns = hand.columns
    text = hand.text(f"VALUES ({', '.join('?' * len(columns))})")

    def insert(name: str, value: Any) -> None:
        rows = [[row[column] for column in columns] for row in hand.rows(name, value)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(text, rows)
        connection.execute("COMMIT")

    return insert


class Store:
    """Hold an engine, and the tables of a job."""

    def __init__(self, name: str, bench: Bench, stack: ExitStack) -> None:
        need("sqlalchemy")
        self.name = name
        self.bench = bench
        self.stack = stack
        self.url = bench.sql(name)
        self.path = self.url.partition("///")[2]
        self.engine = self._open(self.url)
        self._tables: set[str] = set()
        stack.callback(self._drop)

    def _open(self, url: str) -> Any:
        import sqlalchemy

        engine = sqlalchemy.create_engine(url)
        if self.name == "sqlite":

            @sqlalchemy.event.listens_for(engine, "connect")
            def tune(connection: Any, record: Any) -> None:
                # As kairos opens a file by itself.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")

        self.stack.callback(engine.dispose)
        return engine

    def _drop(self) -> None:
        quote = self.engine.dialect.identifier_preparer.quote
        with self.engine.begin() as connection:
            for table in self._tables:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(table)}")

    def table(self, key: str) -> str:
        """Return the name of a contender's table, which is dropped at the end."""
        name = f"{self.bench.token}_{key.replace(' ', '_')}"
        self._tables.add(name)
        return name

    def make(self, key: str, type: str) -> str:
        """Make a contender's table, as kairos does, and return its name."""
        series = self.series(self.engine, key, type)
        series.insert("none", 1)
        series.delete_all()
        return self.table(key)

    def series(self, engine: Any, key: str, type: str, intervals: Any = workload.INTERVALS) -> Any:
        """Return a series of kairos for a contender."""
        return kairos.Timeseries(engine, type=type, intervals=intervals, table_name=self.table(key))

    def clear(self, key: str) -> None:
        """Remove what a contender has written."""
        words = "DELETE FROM" if self.name == "sqlite" else "TRUNCATE TABLE"
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"{words} {self.table(key)}")

    def stored(self, key: str, type: str) -> list[Any]:
        """Return the rows that a contender has stored, those of a series in the order of arrival."""
        quote = self.engine.dialect.identifier_preparer.quote
        columns = [*_PLACE, *(each for each in _PAYLOADS[type] if each != "insert_time")]
        order = [*_PLACE, "insert_time" if type == "series" else columns[-1]]
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT {', '.join(map(quote, columns))} FROM {self.table(key)} "
                f"ORDER BY {', '.join(map(quote, order))}"
            )
            return [tuple(row) for row in rows]

    def counts(self, make: Callable[[Any], Callable[[], object]]) -> Mapping[str, float]:
        """Return the statements and, with a server, the round trips of an operation.

        :param make: returns the operation, given an engine.
        """
        from sqlalchemy import event

        found: dict[str, float] = {}
        if _PORTS[self.name]:
            relay = Relay(self.url, _PORTS[self.name])
            self.stack.callback(relay.close)
            found["round trips"], _ = counted(relay, make(self._open(relay.url)))
        engine = self._open(self.url)
        operation = make(engine)
        operation()
        statements: list[str] = []

        def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            statements.append(statement)

        event.listen(engine, "before_cursor_execute", count)
        operation()
        found["commands"] = len(statements)
        return found


# --- jobs ------------------------------------------------------------------------------------------------


def _insert(store_name: str, type: str, bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    store = Store(store_name, bench, stack)
    value = workload.value_of(type)

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[str, Any], object]]
    ) -> Contender:
        store.make(key, type)
        insert = make(store.engine)

        def outcome() -> object:
            store.clear(key)
            insert(workload.NAME, value)
            return store.stored(key, type)

        return Contender(
            key,
            what,
            role,
            Local(lambda turn: partial(insert, f"{workload.NAME}{turn}", value)),
            outcome=outcome,
            count=lambda: store.counts(lambda engine: partial(make(engine), workload.NAME, value)),
        )

    def by_hand(key: str, engine: Any) -> ByHand:
        return ByHand(engine, store.table(key), type)

    yield contender(
        "kairos", "insert()", "kairos", lambda engine: store.series(engine, "kairos", type).insert
    )
    yield contender(
        "executemany",
        "by hand, one executemany of SQLAlchemy's core",
        "optimum",
        lambda engine: by_hand("executemany", engine).insert,
    )
    yield contender(
        "values",
        "by hand, text with three rows by exec_driver_sql",
        "reference",
        lambda engine: by_hand("values", engine).values_insert(),
    )
    yield contender(
        "pattern",
        "the original's statements, in today's SQLAlchemy",
        "reference",
        lambda engine: by_hand("pattern", engine).pattern,
    )
    if store_name == "sqlite":
        table = store.make("sqlite3", type)
        insert = _by_driver(store, table, type)
        runner = Local(lambda turn: partial(insert, f"{workload.NAME}{turn}", value))
        yield Contender("sqlite3", "the sqlite3 module of Python", "instead", runner)
    yield from _original(store, type, call="insert", name=workload.NAME, value=value, named=True)


def _original(store: Store, type: str, units: int = 1, **request: Any) -> Iterator[Contender]:
    """Yield the original as a contender in something that is written, where it has a driver.

    What it stores is not compared: its counts are whole numbers in a column of their own type.
    """
    bench = store.bench
    if bench.original is None:
        return
    table = store.table("original")
    try:
        bench.original.open(
            "sql",
            store.url,
            type,
            workload.INTERVALS,
            wal=store.name == "sqlite",
            table_name=table,
        )
        remote = Remote(bench.original, key="sql", **request)
        remote.prepare(0)
        remote.once()
    except OriginalFailed as error:
        bench.note(f"the original, {type} on {store.name}: {error}")
        return
    if remote.single:
        remote.before = partial(store.clear, "original")
    yield Contender("original", "the original", "original", remote, units)


def _bulk(
    store_name: str, type: str, names: int, bench: Bench, stack: ExitStack
) -> Iterator[Contender]:
    store = Store(store_name, bench, stack)
    inserts = workload.bulk(type, names)
    few = workload.bulk(type, names, _FEW)

    def contender(
        key: str,
        what: str,
        role: Role,
        make: Callable[[Any], Callable[[workload.Inserts], object]],
        data: workload.Inserts,
        units: int,
    ) -> Contender:
        store.make(key, type)
        bulk = make(store.engine)

        def start(turn: int) -> Callable[[], object]:
            store.clear(key)
            return partial(bulk, data)

        def outcome() -> object:
            start(0)()
            return store.stored(key, type)

        return Contender(
            key,
            what,
            role,
            Local(start, single=True),
            units,
            outcome=outcome if data is inserts else None,
            # Counting is slow; values written one by one have the counts of an insert each.
            count=None
            if data is few
            else lambda: store.counts(lambda engine: partial(make(engine), data)),
        )

    def by_hand(key: str, engine: Any) -> ByHand:
        return ByHand(engine, store.table(key), type)

    def pattern(engine: Any) -> Callable[[workload.Inserts], object]:
        insert = by_hand("pattern", engine).pattern

        def bulk(inserts: workload.Inserts) -> None:
            for its_names in inserts.values():
                for name, values in its_names.items():
                    for value in values:
                        insert(name, value)

        return bulk

    yield contender(
        "kairos",
        "bulk_insert()",
        "kairos",
        lambda engine: store.series(engine, "kairos", type).bulk_insert,
        inserts,
        workload.BULK,
    )
    yield contender(
        "merged",
        "by hand, merged first, "
        + ("unnest of arrays" if store_name == "postgresql" else "one executemany"),
        "optimum",
        lambda engine: by_hand("merged", engine).bulk,
        inserts,
        workload.BULK,
    )
    yield contender(
        "pattern",
        "the original's statements, in today's SQLAlchemy",
        "reference",
        pattern,
        few,
        _FEW,
    )
    entries = [(moment, list(each.items())) for moment, each in few.items()]
    yield from _original(
        store, type, _FEW, call="bulk_insert", name="", entries=entries, single=True
    )


def _read(
    store_name: str,
    type: str,
    interval: str,
    options: Mapping[str, Any],
    reading: Callable[[ByHand], Callable[[], object]],
    bench: Bench,
    stack: ExitStack,
) -> Iterator[Contender]:
    """Yield the contenders of a read, all of the same rows.

    :param options: of ``series()``.
    :param reading: the same, by hand.
    """
    store = Store(store_name, bench, stack)
    seconds = workload.COARSE * 60 if interval == "minute" else workload.HOURS * 3600
    arguments = {
        "interval": interval,
        "start": workload.START,
        "end": workload.START + seconds - 1,
        **options,
    }
    stored = store.series(store.engine, "read", type, workload.READ_INTERVALS)
    stored.bulk_insert(workload.readable(type))
    if store_name == "postgresql":
        with store.engine.begin() as connection:
            connection.exec_driver_sql(f"ANALYZE {store.table('read')}")

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[], object]]
    ) -> Contender:
        read = make(store.engine)
        return Contender(
            key,
            what,
            role,
            local(read),
            outcome=lambda: rounded(plain(read())),
            count=lambda: store.counts(make),
        )

    def by_kairos(engine: Any) -> Callable[[], object]:
        series = store.series(engine, "read", type, workload.READ_INTERVALS)
        return partial(series.series, workload.NAME, **arguments)

    def by_hand(engine: Any) -> Callable[[], object]:
        return reading(ByHand(engine, store.table("read"), type))

    yield contender("kairos", "series()", "kairos", by_kairos)
    yield contender("select", "by hand, one SELECT of SQLAlchemy's core", "optimum", by_hand)
    original = bench.original
    if original is None:
        return
    # It never made an index for its lookups in the tables of series.
    table = store.table("original")
    try:
        original.open(
            "sql",
            store.url,
            type,
            workload.READ_INTERVALS,
            wal=store_name == "sqlite",
            table_name=table,
        )
        remote = Remote(original, key="sql", call="series", name=workload.NAME, arguments=arguments)
        remote.prepare(0)
        remote.once()
    except OriginalFailed as error:
        bench.note(f"the original, {type} on {store_name}: {error}")
        return
    moved = store.series(store.engine, "original", type, workload.READ_INTERVALS)
    moved.bulk_insert(workload.readable(type))

    def answer() -> object:
        remote.prepare(0)
        return rounded(remote.once())

    yield Contender("original", "the original", "original", remote, outcome=answer)


def rounded(answer: Any) -> Any:
    """Return an answer with its floats rounded: servers add them up in an order of their own."""
    if isinstance(answer, list):
        return [rounded(each) for each in answer]
    return round(answer, 9) if isinstance(answer, float) else answer


def _jobs() -> Iterator[Job]:
    for store in _PORTS:
        insert_targets: list[Target] = [at_most(1.25)]
        if store == "sqlite":
            insert_targets.append(times_faster(8))
        else:
            insert_targets.append(times_faster(2, "pattern"))
        for type in workload.TYPES:
            yield Job(
                f"{store}/insert/{type}",
                "µs per insert",
                partial(_insert, store, type),
                insert_targets,
            )
        for type in ("count", "series"):
            for shape, names in (("deep", 1), ("wide", workload.WIDE_NAMES)):
                targets = [at_most(1.5)]
                if shape == "deep" and type == "count":
                    targets += [times_faster(100), times_faster(100, "pattern")]
                yield Job(
                    f"{store}/bulk-{shape}/{type}",
                    "µs per value",
                    partial(_bulk, store, type, names),
                    targets,
                )
        yield Job(
            f"{store}/read-120/series",
            "ms per read",
            partial(_read, store, "series", "minute", {}, ByHand.coarse_reader),
            (at_most(1.3),),
        )
        for what, type, options, reading in (
            ("x10/whole", "series", {}, ByHand.rows_reader),
            ("x10/condensed", "series", {"condense": True}, ByHand.condensed_reader),
            ("x10/sum", "series", {"transform": "sum"}, ByHand.sums_reader),
            (
                "x10/condensed-sum",
                "series",
                {"condense": True, "transform": "sum"},
                ByHand.condensed_sums_reader,
            ),
            ("/count", "count", {}, ByHand.counts_reader),
        ):
            pushed = [times_faster(12)] if what == "x10/condensed-sum" else []
            yield Job(
                f"{store}/read-2880{what}",
                "ms per read",
                partial(_read, store, type, "hour", options, reading),
                [at_most(1.3), *pushed],
            )


JOBS = tuple(_jobs())
