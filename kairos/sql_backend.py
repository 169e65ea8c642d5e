"""Series in SQL databases, by way of SQLAlchemy: SQLite, PostgreSQL, MySQL, MariaDB, and others.

One table per type, with a row per bucket (per value of a bucket for histograms and sets, per insert for
series). Statements are text, built once per series from what :mod:`kairos.sql_text` knows of the dialect, and
handed to the driver through SQLAlchemy's connection, without a compilation or a row object per call.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from hashlib import blake2b
from itertools import chain, islice
from math import ceil, inf, ulp
from operator import itemgetter
from typing import Any, ClassVar, Final, TypeVar
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Enum,
    Index,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    StatementError,
)
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateColumn
from sqlalchemy.types import TypeEngine

from .exceptions import (
    DamagedData,
    InvalidType,
    InvalidValue,
    UnsupportedClient,
    unknown_outcome,
)
from .intervals import Interval, Target, check_name
from .pipeline import Group, ReadPlan, Rows, Write
from .registry import hide_password
from .sql_text import COMMON, NO_BUCKET, Layout, Shape, Statements, listed, shortened
from .sql_values import Row, Values, column_type, created_type, family_of, shown
from .timeseries import Backend, Count, Gauge, Histogram, Series, Set

__all__ = ["SqlBackend", "SqlCount", "SqlGauge", "SqlHistogram", "SqlSeries", "SqlSet"]

Result = TypeVar("Result")
#: A statement reads, or claims, so many names at once ...
_NAMES: Final = 500
#: ... writes so many rows ...
_ROWS: Final = 1000
_BULK_ROWS: Final = 5000
#: ... (an array for each column is worth its overhead for more rows than these) ...
_FEW_ROWS: Final = 8
#: ... with so many characters of text, far below what any server takes as one packet ...
_TEXT: Final = 1_000_000
#: ... and deletes so many rows.
_DELETES: Final = 10_000
#: A transaction that the store has rolled back is tried so often.
_ATTEMPTS: Final = 20
#: How transactions are begun by hand. SQLite takes its one lock at once: it cannot wait for it later.
_BEGIN: Final[Mapping[str, str]] = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED",
    "mysql": "BEGIN",
}
#: And one that has met a row which it did not find, so often.
_RACES: Final = 4



# --- engines -----------------------------------------------------------------------------------------


class _Sharing:
    """Guard what all series on one engine share: its pool, and a pool of one connection above all.

    :ivar lock: held for a whole transaction where all threads are given the same connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._single = isinstance(engine.pool, StaticPool)
        # What lies in memory is copied by a fork, connection and all.
        database = engine.url.database or ""
        memory = database in ("", ":memory:") or "mode=memory" in str(engine.url)
        self._kept = memory and engine.dialect.name == "sqlite"
        self.renew()

    def renew(self) -> None:
        """Make a new lock; after a fork, a thread that is no more may hold the old one."""
        self.lock: AbstractContextManager[Any] = (
            threading.RLock() if self._single else nullcontext()
        )

    def forked(self, engine: Engine) -> None:
        """Leave the connections of an engine to the parent process."""
        self.renew()
        if not self._kept:
            engine.dispose(close=False)


_shared: Final[weakref.WeakKeyDictionary[Engine, _Sharing]] = weakref.WeakKeyDictionary()
#: Engines made from URLs; nobody else closes their connections.
_own: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()


def _forked() -> None:
    """Give a forked child connections and locks of its own; it runs before anything else there."""
    _arrivals.renew()
    for engine, sharing in list(_shared.items()):
        sharing.forked(engine)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _tune_sqlite(connection: Any, record: Any) -> None:
    """Let readers and one writer work side by side, where the file can be written at all."""
    cursor = connection.cursor()
    try:
        for _ in range(_ATTEMPTS):
            try:
                mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except Exception as error:  # noqa: BLE001 - the class of the error is the driver's
                # Two processes that switch the same new file over at once do not wait for each other.
                if "locked" not in str(error):
                    return
                time.sleep(random.uniform(0, 0.05))
            else:
                if mode == "wal":
                    cursor.execute("PRAGMA synchronous = NORMAL")
                return
    finally:
        cursor.close()


class _Arrivals:
    """Give every value of a series a later time than the one before it, within this process."""

    def __init__(self) -> None:
        self._last = 0.0
        self.renew()

    def renew(self) -> None:
        """Make a new lock; after a fork, a thread that is no more may hold the old one."""
        self._lock = threading.Lock()

    def take(self, count: int) -> tuple[float, float]:
        """Return the time of the first of so many values, and the distance from each to the next."""
        now = time.time()
        with self._lock:
            step = ulp(max(now, self._last) * 2)
            first = now if now > self._last else self._last + step
            self._last = first + (count - 1) * step
        return first, step


_arrivals: Final = _Arrivals()


# --- errors ------------------------------------------------------------------------------------------


def _commits_by_itself(connection: Connection) -> bool:
    """Tell whether a connection to a server is in autocommit mode."""
    driver: Any = connection.connection.driver_connection
    getter = getattr(driver, "get_autocommit", None)
    return bool(getter() if getter else getattr(driver, "autocommit", False))


def _codes(error: DBAPIError) -> set[Any]:
    """Return what a driver gives of an error: its SQLSTATE, the number of MySQL's, or both."""
    origin: Any = error.orig
    first = origin.args[0] if getattr(origin, "args", None) else None
    if isinstance(first, dict):
        first = first.get("C")
    return {getattr(origin, "sqlstate", None), getattr(origin, "pgcode", None), first}


#: Deadlock, serialization failure, lock not available; MySQL's deadlock, lock wait timeout, changed row.
_ROLLED_BACK: Final = frozenset({"40P01", "40001", "55P03", 1213, 1205, 1020})
_LOCKED: Final = ("database is locked", "database table is locked", "database schema is locked")
#: MySQL's and MariaDB's: out of range, wrong text for the column, too long, a CHECK that fails.
_REFUSED: Final = frozenset({1264, 1292, 1366, 1406, 3819, 4025})
_MISSING: Final = frozenset({"42P01", "42S02", 1146})


def _is_rolled_back(error: DBAPIError) -> bool:
    """Tell whether an error proves that nothing of the transaction is or will be applied."""
    return bool(_codes(error) & _ROLLED_BACK) or str(error.orig).startswith(_LOCKED)


def _is_refused(error: DBAPIError) -> bool:
    """Tell whether the store does not take a value, or what is made of it."""
    codes = _codes(error)
    # Classes of SQLSTATE: data exceptions, and violated constraints.
    states = (code for code in codes if isinstance(code, str))
    return isinstance(error, (DataError, IntegrityError)) or bool(
        codes & _REFUSED or any(re.fullmatch(r"2[23]\w{3}", state) for state in states)
    )


def _is_missing(error: DBAPIError) -> bool:
    return bool(_codes(error) & _MISSING) or str(error.orig).startswith("no such table")


# --- the backend -------------------------------------------------------------------------------------


class SqlTarget(Target):
    """Add the columns that all rows of one bucket have in common.

    :ivar place: interval, i_time and r_time.
    """

    __slots__ = ("place",)

    def __init__(
        self, interval: Interval, i_bucket: int, r_bucket: int | None, i_start: int
    ) -> None:
        super().__init__(interval, i_bucket, r_bucket, i_start)
        self.place = (interval.interval, i_bucket, r_bucket)
        for bucket in (i_bucket, r_bucket or 0):
            if not NO_BUCKET < bucket < -NO_BUCKET:
                raise InvalidValue(f"the timestamp {i_start} is out of range: no column holds {bucket}")


#: The order of the columns of a new table.
_ORDER: Final = ("name", "interval", "insert_time", "i_time", "r_time", "value", "count")


class SqlBackend(Backend):
    """Keep series in a SQL database through an ``Engine`` of SQLAlchemy 2.0 or later, or its URL.

    Options:

    ``table_name``
        default: the name of the type. It is created when something is first written, by one of several
        processes that try at once; reading never creates anything. A table made by the original is used
        as it is found.
    ``value_type``
        of the values; default float. A Python type, one of the names ``blob bool boolean clob date
        datetime decimal float int int64 integer long str string text time unicode``, or a type of
        SQLAlchemy. Values are converted to it where nothing is lost (``'5'`` or ``5`` to ``5.0``), and
        refused where the column could not give back what was written: text that is too long, NaN, a
        fraction for whole numbers, a time zone for a column without.
    ``string_length``, ``text_length``
        characters of a string (255) and a text or blob (32 KiB). SQLite and PostgreSQL keep texts of any
        length, SQLite strings as well.

    Guarantees:

    - A call is one transaction, made with one upsert per row: concurrent writers lose nothing, and a
      bucket has one row. Rows are written in a fixed order, so that writers do not block each other in
      a circle. An engine that commits every statement (``isolation_level="AUTOCOMMIT"``) makes no
      difference. ``connection=`` hands in a connection of the caller's, whose transaction decides; what
      takes several statements (an ``id``, bulk inserts, tables without the rule below) is kept whole by a
      savepoint, unless that connection commits every statement: then each stands for itself.
    - A transaction is repeated only if the store says that it was rolled back (deadlock, serialization
      failure, lock timeout, a locked SQLite file), and only if it is not the caller's. Neither kairos nor
      SQLAlchemy repeats anything after a lost connection: ``pool_pre_ping`` tests connections before they
      are used, and executes nothing twice. When the connection is lost before the COMMIT is sent, the
      driver's error is raised and nothing was written; afterwards it is ``UnknownOutcome``.
    - An insert with an ``id`` claims it in the same transaction, in a table ``<table_name>_ids``.
    - Names, and values of histograms and sets, are compared exactly in new tables whatever the database's
      collation. In tables that were found they are compared so in addition to the column's own way; where
      that has a unique constraint, names that differ in case only meet an error.
    - Counts are doubles, exact below 2**53 (SQLite: 64-bit integers as long as they are whole), and read
      as int while they are whole.
    - Tables without the rule of uniqueness, as the original made them, and dialects of no known upsert
      are written by UPDATE and INSERT, one writer at a time. Rows that were there twice are merged. On
      SQLite and PostgreSQL a unique index on ``(name, interval, i_time, COALESCE(r_time,
      -9223372036854775807))``, and ``value`` for histograms and sets of numbers, makes upserts possible
      there, too; it may have any name.
    - Data that is out of the window stays until :meth:`expire`, whenever it was written.
    - A SQLite file that is given as a URL is switched to WAL, with a busy timeout of 30 seconds and
      ``synchronous=NORMAL``: what was acknowledged survives SIGKILL of the process, as the kernel has it,
      and a power failure may take the last transactions, whole. Other engines are used as they are.
    - A forked child opens connections of its own.

    Pushed to the server: the named transforms of series (numbers; ``count`` and ``rate`` of anything), of
    histograms without a ``read_func`` but for ``rate``, of sets where nothing is merged, and ``rate`` of
    condensed counts. Sums of floats may differ from Python's in the last bit, as the order differs.
    """

    _options: ClassVar[Mapping[str, Any]] = {
        "table_name": None,
        "value_type": "float",
        "string_length": 255,
        "text_length": 32 * 1024,
    }
    _handle = "connection"
    _target_class = SqlTarget

    #: What a cell's rows look like.
    _shape: ClassVar[Shape]

    # --- set-up ------------------------------------------------------------------------------------------

    @classmethod
    def _connect(cls, url: str, config: dict[str, Any]) -> Engine:
        shown = repr(hide_password(url))
        try:
            sqlite = url.partition("://")[0].partition("+")[0] == "sqlite"
            memory = sqlite and not url.partition("://")[2].strip("/").replace(":memory:", "")
            if sqlite and not {"pool", "poolclass", "creator"} & set(config):
                arguments = dict(config.get("connect_args") or {})
                if memory:
                    # One connection, so that all threads see the same data.
                    config["poolclass"] = StaticPool
                    arguments.setdefault("check_same_thread", False)
                else:
                    arguments.setdefault("timeout", 30)
                config["connect_args"] = arguments
            engine = create_engine(url, **config)
        except (ArgumentError, NoSuchModuleError) as error:
            raise UnsupportedClient(
                f"{shown} is not supported: {error}; use a URL of SQLAlchemy, such as sqlite:///file.db, "
                "postgresql+psycopg://host/database or mysql+pymysql://host/database"
            ) from error
        except ImportError as error:
            raise UnsupportedClient(
                f"{shown} needs a driver that is missing: {error}; kairos is tested with "
                "psycopg (postgresql+psycopg://) and PyMySQL (mysql+pymysql://)"
            ) from error
        cls._accept(engine)
        if sqlite and not memory:
            event.listen(engine, "connect", _tune_sqlite)
        _own.add(engine)
        return engine

    @classmethod
    def _accept(cls, client: Any) -> Engine:
        if not isinstance(client, Engine) or client.dialect.is_async:
            raise UnsupportedClient(
                f"a client of type {type(client).__module__}.{type(client).__qualname__} is not "
                "supported: SQL needs a synchronous sqlalchemy.Engine, or its URL"
            )
        return client

    def _setup(self, **options: Any) -> None:
        engine: Engine = self._client
        dialect = engine.dialect
        table_name, string_length = options["table_name"], options["string_length"]
        self._table_name: str = self._type if table_name is None else table_name
        check_name(self._table_name, "table_name")
        longest = dialect.max_identifier_length
        if len(self._table_name.encode()) > longest:
            raise InvalidValue(f"table_name {self._table_name!r} has more than {longest} characters")
        for what in ("string_length", "text_length"):
            length = options[what]
            if not isinstance(length, int) or isinstance(length, bool) or length < 1:
                raise InvalidValue(f"{what} must be a positive whole number, not {length!r}")
        asked = column_type(options["value_type"], string_length, options["text_length"])
        self._column = Values(created_type(asked, dialect, string_length, None), dialect)
        self._string_length: int = string_length
        self._table = self._described(None)
        self._sharing = _shared.setdefault(engine, _Sharing(engine))
        self._layout: Layout | None = None
        self._ids_found = False
        self._settled = False
        #: How a transaction is begun where the driver commits every statement by itself.
        self._explicit: str | None = None
        self._writer = engine
        self._reader = engine
        self._statements = self._texts(None)
        self._most_rows = self._rows_of_an_insert()
        if engine in _own:
            weakref.finalize(self, engine.dispose)

    def _texts(self, layout: Layout | None) -> Statements:
        values = self._column if "value" in self._shape.payload else None
        return Statements(self._client.dialect, self._table_name, self._shape, values, layout)

    def _rows_of_an_insert(self) -> int:
        """Return how many rows a statement may write that has a parameter for each of their columns."""
        if self._statements.family.conflict is None:
            return 1
        dialect = self._client.dialect
        if dialect.name != "sqlite":
            return _ROWS
        variables = 32766 if dialect.dbapi.sqlite_version_info >= (3, 32) else 999
        return min(_ROWS, variables // len(self._shape.columns))

    def _described(self, collation: str | None) -> Table:
        """Return the table as it would be created, for custom fetches and for generic dialects."""
        shape = self._shape
        wanted = [each for each in _ORDER if each in COMMON or each in shape.payload]
        columns: Iterable[Column[Any]] = (
            Column(each, self._type_of(each, collation), nullable=each == "r_time")
            for each in wanted
        )
        return Table(self._table_name, MetaData(), *columns)

    def _type_of(self, column: str, collation: str | None) -> TypeEngine[Any]:
        dialect = self._client.dialect
        if column in ("name", "interval"):
            return created_type(String(255), dialect, 255, collation)
        if column == "value":
            return created_type(self._column.type, dialect, self._string_length, collation)
        if column == "count":
            # NUMERIC of SQLite keeps whole numbers as such, and fractions as doubles.
            fraction: TypeEngine[Any] = (
                Numeric(asdecimal=False) if dialect.name == "sqlite" else Double()
            )
            return fraction if self._shape.payload == ("count",) else BigInteger()
        return Double() if column == "insert_time" else BigInteger()

    # --- the table ---------------------------------------------------------------------------------------

    def _settle(self, connection: Connection) -> None:
        """Find out, once, how the engine's connections have to be treated."""
        if self._settled:
            return
        engine = self._client
        family = family_of(engine.dialect)
        driver: Any = connection.connection.driver_connection
        if family == "sqlite":
            isolation = getattr(driver, "isolation_level", "")
            if getattr(driver, "autocommit", None) is True or (
                isolation is None and not driver.in_transaction
            ):
                self._explicit = _BEGIN[family]
        elif family is not None and _commits_by_itself(connection):
            self._explicit = _BEGIN[family]
        elif family == "postgresql":
            if connection.get_isolation_level() != "READ COMMITTED":
                # All that a write consists of is correct at this level, and fails less.
                self._writer = engine.execution_options(isolation_level="READ COMMITTED")
            # Saves the round trips of BEGIN and ROLLBACK around a single SELECT.
            self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._settled = True

    def _find(self, connection: Connection) -> Layout | None:
        """Look at the table as it is; None if there is none."""
        inspector = inspect(connection)
        if not inspector.has_table(self._table_name):
            return None
        dialect = connection.dialect
        family = family_of(dialect)
        columns = {column["name"]: column for column in inspector.get_columns(self._table_name)}
        missing = [column for column in self._shape.columns if column not in columns]
        if missing:
            raise InvalidValue(
                f"table {self._table_name!r} is not one of a {self._type}: it has no columns "
                f"{', '.join(missing)}; choose another table_name"
            )
        lengths: tuple[int | None, int | None] = (None, None)
        if family != "sqlite":
            lengths = (
                getattr(columns["name"]["type"], "length", None),
                getattr(columns["interval"]["type"], "length", None),
            )
        exact, padded = True, False
        if family == "mysql":
            exact, padded = self._collations(connection)
        check = count = None
        if "value" in self._shape.payload:
            found = Values(columns["value"]["type"], dialect)
            if found.kind == self._column.kind and found.limits != self._column.limits:
                check = found.encode
        if self._shape.payload == ("count",) and family != "sqlite":
            count = Values(columns["count"]["type"], dialect).encode
        return Layout(self._ruled(connection, columns), exact, padded, lengths, check, count)

    def _ruled(self, connection: Connection, columns: Mapping[str, Any]) -> bool:
        """Tell whether the store keeps a bucket to one row, by the rule that upserts refer to."""
        texts = self._texts(None)
        family = family_of(connection.dialect)
        if family is None or self._shape.rule == "append":
            return False
        if family == "mysql":
            wanted = [*COMMON[:3], *texts.generated()]
            if "value_key" not in wanted:
                wanted.extend(self._shape.key)
            return any(
                each["unique"] and each["column_names"] == wanted
                for each in inspect(connection).get_indexes(self._table_name)
            )
        sql, parameters = {
            "sqlite": (
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = \0",
                (self._table_name,),
            ),
            "postgresql": (
                (
                    "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
                    "WHERE indrelid = to_regclass(\0) AND indisunique AND indisvalid"
                ),
                (texts.table,),
            ),
        }[family]
        rows, _ = self._rows(connection, texts.finish(sql), parameters)
        wanted_end = _normalized(f"({texts.index_columns()})")
        return any(
            definition.lstrip().upper().startswith("CREATE UNIQUE")
            and _normalized(definition).endswith(wanted_end)
            for (definition,) in rows
            if definition
        )

    def _collations(self, connection: Connection) -> tuple[bool, bool]:
        """Return whether names and values are compared exactly, and whether blanks are left out."""
        rows, _ = self._rows(
            connection,
            self._statements.finish(
                "SELECT column_name, collation_name FROM information_schema.columns "
                "WHERE table_schema = DATABASE() AND table_name = \0 AND collation_name IS NOT NULL"
            ),
            (self._table_name,),
        )
        used: dict[str, str] = dict(rows)
        names = [used.get(column, "") for column in ("name", "interval")]
        exact = all(each.endswith("_bin") for each in names)
        # The values of new tables are told apart by their hashes.
        if self._shape.key and "value" in used and not used["value"].endswith("_bin"):
            exact = False
        padded = not all(each.endswith(("_nopad_bin", "_0900_bin")) for each in names)
        return exact and not padded, padded

    def _create(self, connection: Connection) -> None:
        """Create the table and its index, unless they are there."""
        dialect = connection.dialect
        family = family_of(dialect)
        if family is None:
            self._create_generic(connection)
            return
        collation = self._collation(connection) if family == "mysql" else None
        table = self._described(collation)
        texts = self._texts(None)
        for column in table.columns:
            if isinstance(column.type, Enum):
                column.type.create(connection, checkfirst=True)
        parts = [str(CreateColumn(column).compile(dialect=dialect)) for column in table.columns]
        unique = self._shape.rule != "append"
        name = texts.column(shortened(self._table_name, "buckets"))
        if texts.family.generated:
            if unique:
                kinds = {"r_key": "BIGINT", "value_key": "BINARY(32)"}
                parts.extend(
                    f"{texts.column(key)} {kinds[key]} GENERATED ALWAYS AS ({expression}) STORED"
                    for key, expression in texts.generated().items()
                )
            parts.append(f"{'UNIQUE ' if unique else ''}KEY {name} ({texts.index_columns()})")
        statements = [f"CREATE TABLE IF NOT EXISTS {texts.table} ({', '.join(parts)})"]
        if family == "mysql":
            statements[0] += " ENGINE=InnoDB"
        else:
            statements.append(
                f"CREATE {'UNIQUE ' if unique else ''}INDEX IF NOT EXISTS {name} "
                f"ON {texts.table} ({texts.index_columns()})"
            )
        for statement in statements:
            connection.exec_driver_sql(statement)

    def _create_generic(self, connection: Connection) -> None:
        table = self._described(None)
        columns = [table.columns[column] for column in COMMON]
        Index(shortened(self._table_name, "buckets"), *columns)
        table.create(connection, checkfirst=True)

    def _collation(self, connection: Connection) -> str:
        """Return the server's collation that compares exactly, trailing blanks included if it has one."""
        rows, _ = self._rows(
            connection,
            self._statements.finish(
                "SELECT collation_name FROM information_schema.collations "
                "WHERE collation_name IN (\0, \0)"
            ),
            ("utf8mb4_0900_bin", "utf8mb4_nopad_bin"),
        )
        return str(rows[0][0]) if rows else "utf8mb4_bin"

    def _create_ids(self, connection: Connection) -> None:
        """Create the table of events, unless it is there, with the row that writers queue up for."""
        texts = self._statements
        digest, expires, token = map(texts.column, ("digest", "expires", "token"))
        family = family_of(connection.dialect)
        if family is None:
            ids = Table(
                shortened(self._table_name, "ids"),
                MetaData(),
                Column("digest", String(32), primary_key=True),
                Column("expires", BigInteger, nullable=False),
                Column("token", String(32), nullable=False),
            )
            ids.create(connection, checkfirst=True)
        else:
            ascii = " CHARACTER SET ascii COLLATE ascii_bin" if family == "mysql" else ""
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {texts.ids} ("
                f"{digest} VARCHAR(32){ascii} NOT NULL PRIMARY KEY, "
                f"{expires} BIGINT NOT NULL, {token} VARCHAR(32){ascii} NOT NULL)"
                + (" ENGINE=InnoDB" if family == "mysql" else "")
            )
        tail = texts.family.ignore.format(key=digest, table=texts.ids, first=digest)
        found, _ = self._rows(
            connection,
            texts.finish(f"SELECT COUNT(*) FROM {texts.ids} WHERE {digest} = \0"),
            (_QUEUE,),
        )
        if not found[0][0]:
            self._run(
                connection,
                texts.finish(
                    f"INSERT INTO {texts.ids} ({digest}, {expires}, {token}) VALUES (\0, \0, \0) {tail}"
                ),
                (_QUEUE, -NO_BUCKET, _QUEUE),
            )

    def _make(self, create: Callable[[Connection], None], handle: Connection | None) -> None:
        """Create something, in a transaction of its own wherever that is possible.

        Several processes may do so at once: where the dialect has no way to wait for another one, the
        second attempt finds what the other one has made.
        """
        if handle is not None and handle.dialect.name == "sqlite":
            # The caller's transaction may hold the one lock there is.
            self._begin(handle, "BEGIN")
            create(handle)
            return
        for attempt in range(_ATTEMPTS):
            try:
                with self._sharing.lock, self._client.connect() as connection:
                    self._settle(connection)
                    if connection.dialect.name == "sqlite":
                        self._begin(connection, _BEGIN["sqlite"])
                    elif self._explicit:
                        self._begin(connection, self._explicit)
                    if family_of(connection.dialect) == "postgresql":
                        self._lock_table(connection)
                    create(connection)
                    if self._explicit or connection.dialect.name == "sqlite":
                        connection.exec_driver_sql("COMMIT")
                    connection.commit()
                    return
            except DBAPIError as error:
                if attempt >= (_ATTEMPTS - 1 if _is_rolled_back(error) else 2):
                    raise
                _pause(attempt)

    def _prepare(self, handle: Connection | None = None) -> Layout | None:
        """Look for the table, and remember how it was found; return None if there is none.

        :param handle: the connection of a caller, which is asked in place of our own where a second
            connection would have to wait for it.
        """
        if handle is not None and handle.dialect.name == "sqlite":
            self._settle(handle)
            layout = self._find(handle)
        else:
            with self._sharing.lock, self._client.connect() as connection:
                self._settle(connection)
                # What the caller's transaction sees may be rolled back, table and all.
                layout = self._layout = self._find(connection)
        if layout is not None:
            self._statements = self._texts(layout)
        return layout

    def _created(self, handle: Connection | None) -> Layout:
        """Return how the table was found; create it if there is none."""
        layout = self._layout or self._prepare(handle)
        if layout is None:
            self._make(self._create, handle)
            layout = self._prepare(handle)
        assert layout is not None
        return layout

    # --- executing ---------------------------------------------------------------------------------------

    def _run(self, connection: Connection, sql: str, parameters: Row) -> Any:
        if family_of(connection.dialect):
            return connection.exec_driver_sql(sql, parameters)
        named = {f"p{number}": value for number, value in enumerate(parameters)}
        return connection.execute(text(sql), named)

    def _rows(self, connection: Connection, sql: str, parameters: Row) -> tuple[Sequence[Row], Any]:
        """Return the rows of a query as the driver gives them, and its description of the columns."""
        result = self._run(connection, sql, parameters)
        cursor = result.cursor
        dialect = connection.dialect
        try:
            rows = cursor.fetchall()
        except dialect.loaded_dbapi.Error as error:
            # SQLite computes most rows only now; SQLAlchemy wraps what executing raises.
            raise DBAPIError.instance(
                sql, parameters, error, dialect.loaded_dbapi.Error, dialect=dialect
            ) from error
        description = cursor.description
        result.close()
        return rows, description

    def _count(self, connection: Connection, sql: str, parameters: Row) -> int:
        """Execute a statement and return how many rows it hit."""
        count: int = self._run(connection, sql, parameters).rowcount
        return count

    def _begin(self, connection: Connection, how: str) -> None:
        """Begin a transaction where the driver would put it off, or leave it out."""
        if not connection.in_transaction():
            # An application may have taken over what this does to SQLite's driver.
            connection.begin()
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name != "sqlite" or not driver.in_transaction:
            connection.exec_driver_sql(how)

    def _query(self, sql: str, parameters: Row) -> tuple[Sequence[Row], Any]:
        """Return the rows of one query, or none where the table is not there."""
        try:
            with self._sharing.lock, self._reader.connect() as connection:
                return self._rows(connection, sql, parameters)
        except DBAPIError as error:
            if not _is_missing(error):
                raise
            self._layout = None
            return (), ()

    def _transact(self, prepare: Callable[[], Callable[[Connection], Result]]) -> Result:
        """Do work in a transaction, again whenever the store has rolled it back whole.

        :param prepare: returns the work; it is called before each transaction, outside of it.
        """
        attempt = 0
        while True:
            committing = False
            try:
                work = prepare()
                with self._sharing.lock, self._writer.connect() as connection:
                    if self._explicit:
                        self._begin(connection, self._explicit)
                    try:
                        result = work(connection)
                        committing = True
                        if self._explicit:
                            connection.exec_driver_sql("COMMIT")
                        connection.commit()
                        return result
                    except BaseException:
                        self._roll_back(connection)
                        raise
            except DBAPIError as error:
                attempt += 1
                if self._is_undone(error):
                    # A row that is in the way has been made by now, unless it is another's for good.
                    if attempt < (_RACES if isinstance(error, IntegrityError) else _ATTEMPTS):
                        _pause(attempt)
                        continue
                elif committing:
                    raise unknown_outcome(
                        error, f"the COMMIT of a write to table {self._table_name!r}"
                    ) from error
                raise

    def _roll_back(self, connection: Connection) -> None:
        """Roll a transaction back that the driver knows nothing of; closing does it for all others."""
        if self._explicit and not connection.invalidated:
            driver: Any = connection.connection.driver_connection
            if connection.dialect.name != "sqlite" or driver.in_transaction:
                connection.exec_driver_sql("ROLLBACK")

    def _is_undone(self, error: DBAPIError) -> bool:
        """Tell whether a transaction that failed may be tried again."""
        layout = self._layout
        if layout is not None and _is_missing(error):
            # Someone has dropped the table; it is looked for, and made, again.
            self._layout, self._ids_found = None, False
            return True
        if isinstance(error, IntegrityError):
            # Without a rule, another writer may have made the row that this one was about to.
            return layout is not None and not layout.ruled
        return _is_rolled_back(error)

    def _lock_table(self, connection: Connection) -> None:
        """Wait until no other writer that has to be alone is in the middle of its transaction."""
        family = family_of(connection.dialect)
        texts = self._statements
        if family == "postgresql":
            digest = blake2b(self._table_name.encode(), digest_size=8).digest()
            self._run(
                connection,
                texts.finish("SELECT pg_advisory_xact_lock(\0)"),
                (int.from_bytes(digest, "big", signed=True),),
            ).close()
        elif family != "sqlite":  # which has one writer at a time anyway
            column = texts.column("token")
            self._run(
                connection,
                texts.finish(
                    f"UPDATE {texts.ids} SET {column} = {column} "
                    f"WHERE {texts.column('digest')} = \0"
                ),
                (_QUEUE,),
            )

    # --- writing -----------------------------------------------------------------------------------------

    def _encode(self, value: Any) -> Any:
        encoded = self._column.encode(value)
        if self._shape.key and self._column.kind == "other":
            try:
                hash(encoded)
            except TypeError as error:
                raise InvalidType(
                    f"value {shown(value)} cannot be counted or told apart: {error}"
                ) from error
        return encoded

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        try:
            if handle is None:
                self._transact(lambda: self._work(groups, None))
            else:
                self._check_handle(handle)
                self._work(groups, handle)(handle)
        except DBAPIError as error:
            if not _is_refused(error):
                raise
            raise InvalidValue(
                f"table {self._table_name!r} does not take a value: {error.orig}"
            ) from error
        except (StatementError, UnicodeError, OverflowError) as error:
            raise InvalidValue(
                f"table {self._table_name!r} does not take a value: {error}"
            ) from error

    def _check_handle(self, handle: Any) -> None:
        if not isinstance(handle, Connection):
            raise InvalidType(f"connection must be a sqlalchemy.Connection, not {handle!r}")
        if handle.dialect.name != self._client.dialect.name:
            raise InvalidValue(
                f"connection is one to {handle.dialect.name}, the series lies in "
                f"{self._client.dialect.name}"
            )

    def _work(
        self, groups: Sequence[Group], handle: Connection | None
    ) -> Callable[[Connection], None]:
        """Return what writes groups in a connection's transaction, after seeing to it that it can.

        :param handle: the connection, if it is the caller's.
        """
        layout = self._created(handle)
        claiming = any(group.event is not None for group in groups)
        upserts = self._statements.family.conflict is not None
        # Where the store does not see to it, one writer at a time does.
        alone = not layout.ruled and self._shape.rule != "append"
        alone = alone or (claiming and not upserts)
        queueing = alone and family_of(self._client.dialect) in (None, "mysql")
        if (claiming or queueing) and not self._ids_found:
            self._make(self._create_ids, handle)
            self._ids_found = handle is None or handle.dialect.name != "sqlite"

        guarded = handle is not None and (claiming or alone)

        def apply(connection: Connection) -> None:
            if alone:
                self._lock_table(connection)
            writes: Iterable[Write]
            if claiming:
                writes = self._claim(connection, groups)
            else:
                writes = chain.from_iterable(group.writes for group in groups)
            rows = self._rows_of(writes, layout)
            if not layout.ruled and self._shape.rule != "append":
                for row in rows:
                    self._merge_row(connection, row)
                return
            steps = self._upserts(rows)
            if handle is not None and len(steps) > 1 and not guarded:
                self._within_savepoint(handle, lambda handle: self._run_all(handle, steps))
            else:
                self._run_all(connection, steps)

        # Several statements, of which none shall stay in the caller's transaction if one of them fails.
        return (lambda handle: self._within_savepoint(handle, apply)) if guarded else apply

    def _within_savepoint(
        self, handle: Connection, apply: Callable[[Connection], None]
    ) -> None:
        driver: Any = handle.connection.driver_connection
        if handle.dialect.name == "sqlite":
            if getattr(driver, "isolation_level", "") is not None:
                # Else releasing the savepoint would commit it.
                self._begin(handle, "BEGIN")
        elif family_of(handle.dialect) is not None and _commits_by_itself(handle):
            apply(handle)
            return
        with handle.begin_nested():
            apply(handle)

    def _rows_of(self, writes: Iterable[Write], layout: Layout) -> list[Row]:
        """Return the rows to be written, each but once, in the order that all writers keep to."""
        shape = self._shape
        found: dict[Row, Any] = {}
        checked: set[str] = set()
        collect = self._collect
        for write in writes:
            name = write.name
            if name not in checked:
                self._check_stored(name, layout)
                checked.add(name)
            target: Any = write.target
            collect(found, (name, *target.place), write.delta)
        if shape.rule == "append":
            rows: list[Row] = [(*place, value) for place, values in found.items() for value in values]
            first, step = _arrivals.take(len(rows))
            rows = [(*row, first + n * step) for n, row in enumerate(rows)]
        else:
            rows = _ordered(found)
            if layout.count is not None:
                rows = [(*row, layout.count(found[row])) for row in rows]
            elif shape.rule != "ignore":
                rows = [(*row, found[row]) for row in rows]
        if "value" not in shape.payload:
            return rows
        if layout.check is not None:
            for row in rows:
                layout.check(row[4])
        bind = self._column.bind
        return rows if bind is None else [(*row[:4], bind(row[4]), *row[5:]) for row in rows]

    def _collect(self, rows: dict[Row, Any], place: Row, delta: Any) -> None:
        """Add a delta to what is to be written, by name, interval, buckets and the key within them."""
        raise NotImplementedError

    def _check_stored(self, name: str, layout: Layout) -> None:
        """Raise for names that the table would cut, or compare as equal to others."""
        longest, longest_interval = layout.lengths
        if longest is not None and len(name) > longest:
            raise InvalidValue(
                f"name {shown(name)} has {len(name)} characters: table {self._table_name!r} "
                f"holds {longest}"
            )
        if layout.padded and layout.ruled and name.endswith(" "):
            raise InvalidValue(
                f"name {name!r} ends with a blank, which this server does not tell from none"
            )
        if longest_interval is not None:
            for interval in self._intervals:
                if len(interval) > longest_interval:
                    raise InvalidValue(
                        f"interval {shown(interval)} has {len(interval)} characters: table "
                        f"{self._table_name!r} holds {longest_interval}"
                    )

    def _upserts(self, rows: Sequence[Row]) -> Sequence[tuple[str, Row]]:
        """Return the fewest statements that write rows, each with its parameters."""
        texts = self._statements
        if texts.unnest is not None and len(rows) > _FEW_ROWS:
            return [
                (texts.unnest, tuple(map(list, zip(*part, strict=True))))
                for part in self._parts(rows, _BULK_ROWS)
            ]
        return [
            (texts.insert(len(part)), tuple(chain.from_iterable(part)))
            for part in self._parts(rows, self._most_rows)
        ]

    def _run_all(self, connection: Connection, steps: Sequence[tuple[str, Row]]) -> None:
        for sql, parameters in steps:
            self._run(connection, sql, parameters)

    def _parts(self, rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
        """Yield rows in parts that are small enough for a statement."""
        if len(rows) <= 1:
            if rows:
                yield rows
            return
        if self._column.kind not in ("text", "bytes", "other") or "value" not in self._shape.payload:
            for start in range(0, len(rows), most):
                yield rows[start : start + most]
            return
        part: list[Row] = []
        size = 0
        for row in rows:
            value = row[4]
            length = len(value) if isinstance(value, (str, bytes)) else 1000
            if part and (len(part) >= most or size + length > _TEXT):
                yield part
                part, size = [], 0
            part.append(row)
            size += length
        yield part

    def _merge_row(self, connection: Connection, row: Row) -> None:
        """Write one row where the store does not see to it that there is one only."""
        texts, shape = self._statements, self._shape
        coarse = row[3] is None
        condition = self._row_parameters(row)
        if connection.dialect.supports_sane_rowcount:
            hits = None
        else:
            found, _ = self._rows(connection, texts.count_rows(coarse), condition)
            hits = found[0][0]
        if hits is None or hits:
            change = () if shape.rule == "ignore" else (row[-1],)
            updated = self._count(connection, texts.update(coarse), change + condition)
            hits = updated if hits is None else hits
        if hits > 1 and shape.rule == "add":
            # The row was there more than once, and each has got the whole amount.
            found, _ = self._rows(connection, texts.total(coarse), condition)
            total = _whole(found[0][0]) - (hits - 1) * row[-1]
            self._run(connection, texts.remove(coarse), condition)
            row, hits = (*row[:-1], total), 0
        if not hits:
            self._run(connection, texts.insert(1, upsert=False), row)

    def _row_parameters(self, row: Row) -> Row:
        """Return the parameters of the condition that finds a row."""
        repeat = self._statements.repeat
        parameters = [row[0]] * repeat + [row[1]] * repeat + [row[2]]
        if row[3] is not None:
            parameters.append(row[3])
        if self._shape.key:
            parameters.extend([row[4]] * (repeat if self._column.kind == "text" else 1))
        return tuple(parameters)

    # --- events ------------------------------------------------------------------------------------------

    def _claim(self, connection: Connection, groups: Sequence[Group]) -> Iterator[Write]:
        """Claim the events of groups, and yield the writes of those that were not claimed before."""
        now = time.time()
        events = {group.event.key: group.event for group in reversed(groups) if group.event}
        token = uuid4().hex
        claims = [
            (key, ceil(now + events[key].remember), token) for key in sorted(events)
        ]
        fresh: set[str] = set()
        take = self._claim_alone if self._statements.family.conflict is None else self._claim_some
        iterator = iter(claims)
        while part := list(islice(iterator, _NAMES)):
            fresh.update(take(connection, part, token, int(now)))
        return self._fresh_writes(groups, fresh)

    def _fresh_writes(self, groups: Sequence[Group], fresh: set[str]) -> Iterator[Write]:
        for group in groups:
            if group.event is None:
                yield from group.writes
            elif group.event.key in fresh:
                # Delivered twice in one call, it counts once.
                fresh.discard(group.event.key)
                yield from group.writes

    def _claim_some(
        self, connection: Connection, claims: Sequence[Row], token: str, now: int
    ) -> Iterator[str]:
        texts = self._statements
        digest, expires, marked = map(texts.column, ("digest", "expires", "token"))
        # MySQL assigns from left to right: the time comes last, as the condition reads it.
        sets = ", ".join(
            f"{column} = CASE WHEN {texts.ids}.{expires} <= \0 "
            f"THEN {texts.family.proposed.format(column=column)} ELSE {texts.ids}.{column} END"
            for column in (marked, expires)
        )
        conflict = (texts.family.conflict or "").format(key=digest, sets=sets)
        rows = ", ".join(["(\0, \0, \0)"] * len(claims))
        connection.exec_driver_sql(
            texts.finish(
                f"INSERT INTO {texts.ids} ({digest}, {expires}, {marked}) VALUES {rows} {conflict}"
            ),
            (*chain.from_iterable(claims), now, now),
        )
        found, _ = self._rows(
            connection,
            texts.finish(
                f"SELECT {digest} FROM {texts.ids} "
                f"WHERE {digest} IN ({listed(len(claims))}) AND {marked} = \0"
            ),
            (*map(itemgetter(0), claims), token),
        )
        return (key for (key,) in found)

    def _claim_alone(
        self, connection: Connection, claims: Sequence[Row], token: str, now: int
    ) -> Iterator[str]:
        """Claim events while no other writer does, in a dialect without upserts."""
        texts = self._statements
        digest, expires, marked = map(texts.column, ("digest", "expires", "token"))
        keys = tuple(map(itemgetter(0), claims))
        within = f"FROM {texts.ids} WHERE {digest} IN ({listed(len(keys))})"
        self._run(connection, texts.finish(f"DELETE {within} AND {expires} <= \0"), (*keys, now))
        found, _ = self._rows(connection, texts.finish(f"SELECT {digest} {within}"), keys)
        known = {key for (key,) in found}
        for claim in claims:
            if claim[0] not in known:
                self._run(
                    connection,
                    texts.finish(
                        f"INSERT INTO {texts.ids} ({digest}, {expires}, {marked}) VALUES (\0, \0, \0)"
                    ),
                    claim,
                )
                yield claim[0]

    # --- reading -----------------------------------------------------------------------------------------

    def _where(self, name: str, interval: Interval, i_bucket: int, r_bucket: int | None) -> str:
        return (
            f"table {self._table_name!r}, name {name!r}, interval {interval.interval!r}, "
            f"i_time {i_bucket}, r_time {r_bucket}"
        )

    def _fetch(self, plan: ReadPlan) -> Rows:
        if plan.fetch is not None:
            return self._fetch_custom(plan, plan.fetch)
        layout = self._layout or self._prepare()
        first, last = plan.buckets[0], plan.buckets[-1]
        if layout is None or last <= NO_BUCKET or first >= -NO_BUCKET:
            return {}
        first, last = max(first, NO_BUCKET), min(last, -NO_BUCKET)
        result: Rows = {}
        names = list(dict.fromkeys(plan.names))
        for start in range(0, len(names), _NAMES):
            part = names[start : start + _NAMES]
            repeat = self._statements.repeat
            parameters = (
                *(part * repeat if len(part) == 1 else part),
                *[plan.interval.interval] * repeat,
                first,
                last,
            )
            if plan.partials:
                result.update(self._fetch_partials(plan, part, parameters, layout))
            else:
                result.update(self._fetch_rows(plan, part, parameters))
        return result

    def _fetch_rows(self, plan: ReadPlan, names: Sequence[str], parameters: Row) -> Rows:
        coarse = plan.interval.coarse
        sql = self._statements.select(len(names), coarse)
        rows, description = self._query(sql, parameters)
        if "value" in self._shape.payload and rows:
            rows = self._decoded(plan, names, rows, description)
        if len(names) == 1:
            return {names[0]: self._arranged(plan, names[0], rows)} if rows else {}
        return {
            name: self._arranged(plan, name, part) for name, part in _by_name(rows, names).items()
        }

    def _decoded(
        self, plan: ReadPlan, names: Sequence[str], rows: Sequence[Row], description: Any
    ) -> Sequence[Row]:
        """Return rows with their values in the column's own type."""
        decode = self._column.decoder(map(itemgetter(2), rows), description[2][1])
        if decode is None:
            return rows
        decoded = []
        for row in rows:
            try:
                decoded.append((row[0], row[1], decode(row[2]), *row[3:]))
            except DamagedData as error:
                name = row[-1] if len(names) > 1 else names[0]
                place = self._where(name, plan.interval, row[0], row[1])
                raise DamagedData(f"{place}: {error}") from error
        return decoded

    def _arranged(
        self, plan: ReadPlan, name: str, rows: Iterable[Row]
    ) -> dict[int, dict[int | None, Any]]:
        """Return the rows of a name by i_time and r_time, each bucket as the raw form of its type."""
        table: dict[int, dict[int | None, Any]] = {}
        i_time = r_time = None
        bucket: list[Row] = []
        for row in rows:
            if row[0] != i_time or row[1] != r_time or i_time is None:
                i_time, r_time = row[0], row[1]
                bucket = table.setdefault(i_time, {}).setdefault(r_time, [])
            bucket.append(row)
        gather = self._gather
        for i_time, cell in table.items():
            for r_time, found in cell.items():
                try:
                    cell[r_time] = gather(found)
                except DamagedData as error:
                    place = self._where(name, plan.interval, i_time, r_time)
                    raise DamagedData(f"{place}: {error}") from error
        return table

    def _gather(self, rows: Sequence[Row]) -> Any:
        """Return the raw form of a bucket; its rows are (i_time, r_time, value or count, ...)."""
        raise NotImplementedError

    def _fetch_custom(self, plan: ReadPlan, fetch: Callable[..., Any]) -> Rows:
        """Have the caller's function fetch, name by name, on one connection."""
        buckets = plan.buckets
        ends = (buckets[0],) if plan.single else (buckets[0], buckets[-1])
        interval = plan.interval.interval
        with self._sharing.lock, self._client.connect() as connection:
            return {
                name: fetch(connection, self._table, name, interval, *ends)
                for name in dict.fromkeys(plan.names)
            }

    # --- partials ----------------------------------------------------------------------------------------

    def _numbers_pushed(self) -> bool:
        """Tell whether the store adds up and compares values as Python would after ``read_func``."""
        kind = {"float": float, "int": int}.get(self._column.kind)
        return kind is not None and self._read_func in (None, kind)

    def _partial_columns(self) -> dict[str, str]:
        """Return the expressions of the partials that the store can compute of a bucket's rows."""
        return {}

    def _sum(self, factor: str = "") -> str:
        """Return the expression of the sum of values, times a factor; it is exact for whole numbers."""
        value = self._statements.column("value")
        wide = {"postgresql": "NUMERIC", "mysql": "DECIMAL(40, 0)"}
        family = family_of(self._client.dialect)
        if factor and self._column.kind == "int" and family in wide:
            # Other sums are made in a wider type without being asked.
            value = f"CAST({value} AS {wide[family]})"
        return f"SUM({value}{factor})"

    def _number_columns(self) -> list[str]:
        """Return the columns that aggregates need to hold numbers and nothing else."""
        numbers = ["count"] if self._column.kind not in ("float", "int") else ["value", "count"]
        return [column for column in numbers if column in self._shape.payload]

    def _fetch_partials(
        self, plan: ReadPlan, names: Sequence[str], parameters: Row, layout: Layout
    ) -> Rows:
        family = family_of(self._client.dialect)
        if family is None or not layout.exact or not (layout.ruled or self._shape.rule == "append"):
            # Duplicate rows, or names that only look alike, are sorted out here.
            return self._computed_partials(plan, names, parameters)
        offered = self._partial_columns()
        wanted = [partial for partial in offered if partial in plan.partials]
        sql = self._statements.aggregate(
            [offered[partial] for partial in wanted],
            self._number_columns(),
            len(names),
            plan.interval.coarse,
            plan.condense,
        )
        try:
            rows, _ = self._query(sql, parameters)
        except DBAPIError as error:
            # Either the sum is out of range, or SQLite has met something that is no number.
            if "integer overflow" not in str(error.orig):
                raise
            return self._computed_partials(plan, names, parameters)
        result: Rows = {}
        parts = {names[0]: rows} if len(names) == 1 else _by_name(rows, names)
        for name, part in parts.items():
            if not part:
                continue
            # Column by column, as there may be thousands of rows of one number each.
            i_times, r_times, *columns = zip(*part, strict=True)
            aggregates: list[dict[str, Any]] = [{} for _ in part]
            for partial, column in zip(wanted, columns, strict=True):
                numbers = self._typed(partial, column)
                if numbers is None:
                    return self._computed_partials(plan, names, parameters)
                for row, number in zip(aggregates, numbers, strict=True):
                    row[partial] = number
            table = result[name] = {}
            cell: dict[int | None, Any] = {}
            at = None
            for i_time, r_time, row in zip(i_times, r_times, aggregates, strict=True):
                if i_time != at:
                    at, cell = i_time, table.setdefault(i_time, {})
                cell[r_time] = row
        return result

    def _typed(self, partial: str, numbers: Sequence[Any]) -> Sequence[Any] | None:
        """Return aggregates as the type that Python would have made of them, None if they do not tell."""
        found = set(map(type, numbers))
        if partial == "count":
            return numbers if found == {int} else list(map(_whole, numbers))
        kind = float if self._column.kind == "float" else int
        if found == {kind}:
            return numbers
        # Where there are fractions among whole numbers, Python's type depends on the values.
        if type(None) in found or (kind is int and float in found):
            return None
        return list(map(kind, numbers))

    def _computed_partials(self, plan: ReadPlan, names: Sequence[str], parameters: Row) -> Rows:
        """Fetch the rows, and compute here what the store could not."""
        transforms = self._algebra.transforms
        result: Rows = {}
        for name, table in self._fetch_rows(plan, names, parameters).items():
            for i_time, cell in table.items():
                rows = {
                    r_time: self._located(plan, name, i_time, r_time, raw)
                    for r_time, raw in cell.items()
                }
                if plan.condense:
                    rows = {None: self._algebra.merge(rows.values())}
                result.setdefault(name, {})[i_time] = {
                    r_time: {
                        partial: transforms[partial](row, 1) if partial in transforms else row
                        for partial in plan.partials
                    }
                    for r_time, row in rows.items()
                }
        return result

    def _located(self, plan: ReadPlan, name: str, i_time: int, r_time: int | None, raw: Any) -> Any:
        try:
            return self._process_row(raw)
        except DamagedData as error:
            place = self._where(name, plan.interval, i_time, r_time)
            raise DamagedData(f"{place}: {error}") from error

    # --- housekeeping ------------------------------------------------------------------------------------

    def _mine(self) -> tuple[str, Row]:
        """Return the condition that a row belongs to this series, and its parameters."""
        texts = self._statements
        if not self._intervals:
            return "1 = 1", ()
        conditions = " OR ".join([texts.same("interval")] * len(self._intervals))
        parameters = chain.from_iterable([each] * texts.repeat for each in self._intervals)
        return f"({conditions})", tuple(parameters)

    def list(self) -> list[str]:
        """Return the names that hold data in this series, sorted."""
        if self._layout is None and self._prepare() is None:
            return []
        texts = self._statements
        condition, parameters = self._mine()
        name = texts.column("name")
        if texts.repeat > 1:
            name = f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
        rows, _ = self._query(
            texts.finish(f"SELECT DISTINCT {name} FROM {texts.table} WHERE {condition}"), parameters
        )
        return sorted(
            {bytes(each).decode() if isinstance(each, (bytes, bytearray)) else each for (each,) in rows}
        )

    def _first_last(self, name: str) -> Mapping[str, tuple[int, int]]:
        if self._layout is None and self._prepare() is None:
            return {}
        texts = self._statements
        quote = texts.column
        condition, parameters = self._mine()
        fine = f"CASE WHEN {quote('r_time')} IS NULL THEN 0 ELSE 1 END"
        rows, _ = self._query(
            texts.finish(
                f"SELECT {quote('interval')}, {fine}, MIN({quote('i_time')}), MAX({quote('i_time')}) "
                f"FROM {texts.table} WHERE {texts.same('name')} AND {condition} "
                f"GROUP BY {quote('interval')}, {fine}"
            ),
            (*[name] * texts.repeat, *parameters),
        )
        # Rows that another configuration has left are no data of this one.
        return {
            interval: (first, last)
            for interval, fine, first, last in rows
            if interval in self._intervals and self._intervals[interval].coarse == (not fine)
        }

    def _delete(self, condition: str, parameters: Row, table: str | None = None) -> int:
        """Delete the rows of a condition, in transactions of bounded size; return how many went."""
        texts = self._statements
        some = texts.family.some
        sql = texts.finish(
            some.format(table=table or texts.table, condition=condition, limit=_DELETES)
        )
        parameters = parameters * some.count("{condition}")
        gone = 0
        while True:
            count = self._transact(lambda: lambda connection: self._count(connection, sql, parameters))
            gone += max(0, count)
            if count < _DELETES or "{limit}" not in texts.family.some:
                return gone

    def delete(self, name: str) -> int:
        """Delete exactly this name, in all intervals; return how many rows went.

        Events are remembered all the same: one that is delivered again stays uncounted.
        """
        check_name(name, "name")
        if self._layout is None and self._prepare() is None:
            return 0
        texts = self._statements
        condition, parameters = self._mine()
        return self._delete(
            f"{texts.same('name')} AND {condition}", (*[name] * texts.repeat, *parameters)
        )

    def delete_all(self) -> int:
        """Delete every name of this series and forget its events; return how many rows of data went.

        A series without intervals deletes everything that the table holds.
        """
        if self._layout is None and self._prepare() is None:
            return 0
        gone = self._delete(*self._mine())
        if self._has_ids():
            digest = self._statements.column("digest")
            # No digest has a 'g': all that start with the key lie in between.
            key = self._series_key() if self._intervals else "0"
            end = f"{key}g" if self._intervals else "g"
            self._delete(f"{digest} >= \0 AND {digest} < \0", (key, end), self._statements.ids)
        return gone

    def expire(self, name: str | None = None) -> int:
        """Delete what is out of the window, and forget events that need not be remembered any more.

        What was out of the window already when it was written goes, too: rows do not say when they were
        written.

        :param name: only of this statistic; events are left alone then.
        :returns: how many rows of data went.
        """
        if name is not None:
            check_name(name, "name")
        if self._layout is None and self._prepare() is None:
            return 0
        now = int(time.time())
        gone = 0
        for interval in self._intervals.values():
            if interval.expire is not None:
                gone += self._expire_interval(interval, now, name)
        if name is None and self._has_ids():
            column = self._statements.column("expires")
            self._delete(f"{column} <= \0", (now,), self._statements.ids)
        return gone

    def _expire_interval(self, interval: Interval, now: int, name: str | None) -> int:
        assert interval.expire is not None
        calc, texts = interval.i_calc, self._statements
        # The last bucket whose time to live is over: it starts a whole window before the present one.
        last = calc.to_bucket(calc.normalize(now) - interval.expire)
        condition = f"{texts.same('interval')} AND {texts.column('i_time')} <= \0"
        parameters = (*[interval.interval] * texts.repeat, last)
        names: Iterable[Any] = [name]
        if name is None:
            found, _ = self._query(
                texts.finish(
                    f"SELECT DISTINCT {texts.column('name')} FROM {texts.table} WHERE {condition}"
                ),
                parameters,
            )
            names = sorted(each for (each,) in found)
        gone = 0
        if texts.repeat > 1:
            condition = f"{texts.same('name')} AND {condition}"
            for each in names:
                gone += self._delete(condition, (*[each] * texts.repeat, *parameters))
            return gone
        # By name, so that the index finds the rows: names come first in it.
        iterator = iter(names)
        while part := tuple(islice(iterator, _NAMES)):
            within = f"{texts.column('name')} IN ({listed(len(part))}) AND {condition}"
            gone += self._delete(within, (*part, *parameters))
        return gone

    def _has_ids(self) -> bool:
        if not self._ids_found:
            with self._sharing.lock, self._client.connect() as connection:
                table = shortened(self._table_name, "ids")
                self._ids_found = inspect(connection).has_table(table)
        return self._ids_found


#: The digest of the row that writers queue up for, where nothing better keeps them apart.
_QUEUE: Final = "queue"


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, min(0.5, 0.002 * 2**attempt)))


def _normalized(definition: str) -> str:
    """Return the definition of an index without what stores add, leave out and rearrange."""
    bare = re.sub(r"::(bigint|text|character varying)", "", definition.lower())
    return re.sub(r"[\s\"'`()]", "", bare)


def _ordered(rows: Mapping[Row, Any]) -> list[Row]:
    try:
        return sorted(rows)
    except TypeError:  # values that have no order
        return sorted(rows, key=lambda row: (row[:4], repr(row[4:])))


def _by_name(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[Row]]:
    """Return rows by the name that stands last in each, without it, and without names not asked for."""
    found: dict[str, list[Row]] = {name: [] for name in names}
    for row in rows:
        if row[-1] in found:
            found[row[-1]].append(row[:-1])
    return {name: part for name, part in found.items() if part}


def _whole(number: Any) -> Any:
    """Return a number as an int while it is whole, else as a float."""
    if type(number) is int:
        return number
    if isinstance(number, (float, Decimal)) and -inf < number < inf:
        return int(number) if number == int(number) else float(number)
    raise DamagedData(f"{shown(number)} is not a number")


class SqlSeries(SqlBackend, Series):
    """Keep series in SQL: a row per value."""

    _shape = Shape(("value", "insert_time"), (), "append")

    def _collect(self, rows: dict[Row, Any], place: Row, delta: Any) -> None:
        rows.setdefault(place, []).extend(delta)

    def _gather(self, rows: Sequence[Row]) -> list[Any]:
        return [row[2] for row in rows]

    def _process_row(self, raw: Any) -> Any:
        return raw if self._read_func is None else list(map(self._read_func, raw))

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        return frozenset(_PARTIALS if self._numbers_pushed() else _PARTIALS[:1])

    def _partial_columns(self) -> dict[str, str]:
        return _aggregates(self, "COUNT(*)", self._sum())


class SqlHistogram(SqlBackend, Histogram):
    """Keep histograms in SQL: a row per value that occurred, and how often it did."""

    _shape = Shape(("value", "count"), ("value",), "add")

    def _collect(self, rows: dict[Row, Any], place: Row, delta: Any) -> None:
        for value, count in delta.items():
            key = (*place, value)
            rows[key] = rows.get(key, 0) + count

    def _gather(self, rows: Sequence[Row]) -> dict[Any, Any]:
        if len(rows) == 1:
            return {rows[0][2]: _whole(rows[0][3])}
        counts: dict[Any, Any] = {}
        for row in rows:
            counts[row[2]] = counts.get(row[2], 0) + _whole(row[3])
        return counts

    def _process_row(self, raw: Any) -> Any:
        if self._read_func is None:
            return raw
        counts: dict[Any, Any] = {}
        for value, count in raw.items():
            key = self._read_func(value)
            counts[key] = counts.get(key, 0) + count
        return counts

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        if self._numbers_pushed():
            return frozenset(_PARTIALS)
        return frozenset(_PARTIALS[:1] if self._read_func is None else ())

    def _partial_columns(self) -> dict[str, str]:
        count = self._statements.column("count")
        return _aggregates(self, f"SUM({count})", self._sum(f" * {count}"))


class SqlCount(SqlBackend, Count):
    """Keep counts in SQL: a row with a number per bucket."""

    _shape = Shape(("count",), (), "add")

    def _collect(self, rows: dict[Row, Any], place: Row, delta: Any) -> None:
        rows[place] = rows[place] + delta if place in rows else delta

    def _gather(self, rows: Sequence[Row]) -> Any:
        return rows[0][2] if len(rows) == 1 else sum(_whole(row[2]) for row in rows)

    def _process_row(self, raw: Any) -> Any:
        number = _whole(raw)
        return number if self._read_func is None else self._read_func(number)

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        # Of a bucket that is not condensed there is nothing to add up.
        return frozenset(_PARTIALS[:1] if self._read_func is None and plan.condense else ())

    def _partial_columns(self) -> dict[str, str]:
        return {"count": f"SUM({self._statements.column('count')})"}


class SqlGauge(SqlBackend, Gauge):
    """Keep gauges in SQL: a row with the last value per bucket."""

    _shape = Shape(("value",), (), "replace")

    def _collect(self, rows: dict[Row, Any], place: Row, delta: Any) -> None:
        rows[place] = delta

    def _gather(self, rows: Sequence[Row]) -> Any:
        return rows[-1][2]

    def _process_row(self, raw: Any) -> Any:
        return raw if self._read_func is None else self._read_func(raw)


class SqlSet(SqlBackend, Set):
    """Keep sets in SQL: a row per distinct value."""

    _shape = Shape(("value",), ("value",), "ignore")

    def _collect(self, rows: dict[Row, Any], place: Row, delta: Any) -> None:
        rows.update(((*place, value), None) for value in delta)

    def _gather(self, rows: Sequence[Row]) -> set[Any]:
        return {row[2] for row in rows}

    def _process_row(self, raw: Any) -> Any:
        return raw if self._read_func is None else set(map(self._read_func, raw))

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        # Cardinalities do not add up, and a read_func may make one value of several.
        if merging or self._read_func is not None:
            return frozenset()
        return frozenset(_PARTIALS if self._numbers_pushed() else _PARTIALS[:1])

    def _partial_columns(self) -> dict[str, str]:
        return _aggregates(self, "COUNT(*)", self._sum())


#: What a store can compute of numbers; of anything else, the first only.
_PARTIALS: Final = ("count", "sum", "min", "max")


def _aggregates(series: SqlBackend, count: str, total: str) -> dict[str, str]:
    value = series._statements.column("value")
    return {"count": count, "sum": total, "min": f"MIN({value})", "max": f"MAX({value})"}
