"""What columns take, and the text of statements, in each dialect: no database is asked."""

from __future__ import annotations

import enum
import math
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import types
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.default import DefaultDialect

from kairos.exceptions import DamagedData, InvalidType, InvalidValue
from kairos.sql_text import NO_BUCKET, Shape, Statements, shortened
from kairos.sql_values import Values, column_type, created_type, family_of

COUNT = Shape(("count",), (), "add")
HISTOGRAM = Shape(("value", "count"), ("value",), "add")
GAUGE = Shape(("value",), (), "replace")
SET = Shape(("value",), ("value",), "ignore")
SERIES = Shape(("value", "insert_time"), (), "append")


class Unknown(DefaultDialect):
    """A dialect that nobody knows."""

    name = "unknown"


def dialect_of(name: str) -> Dialect:
    made: dict[str, tuple[Any, str]] = {
        "sqlite": (sqlite.dialect, "qmark"),
        "postgresql": (postgresql.dialect, "pyformat"),
        "mysql": (mysql.dialect, "format"),
        "unknown": (Unknown, "named"),
    }
    make, paramstyle = made[name]
    dialect: Dialect = make(paramstyle=paramstyle)
    return dialect


def values_of(value_type: Any, dialect: str = "sqlite", string: int = 255) -> Values:
    known = dialect_of(dialect)
    return Values(created_type(column_type(value_type, string, 100), known, string, None), known)


DIALECTS = ["sqlite", "postgresql", "mysql", "unknown"]
NOON = datetime(2020, 2, 29, 12, 30, 15, 123456)
AWARE = NOON.replace(tzinfo=timezone(timedelta(hours=5)))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("value_type", "given", "stored"),
    [
        ("float", 5, 5.0),
        (float, "5", 5.0),
        (float, True, 1.0),
        (float, Decimal("0.1"), 0.1),
        (float, Fraction(1, 4), 0.25),
        (float, 2**53, 2.0**53),
        ("int", 5.0, 5),
        (int, "-5", -5),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("long", False, 0),
        ("integer", Decimal(3), 3),
        ("str", 5, "5"),
        (str, 2.5, "2.5"),
        ("unicode", "é\n' ", "é\n' "),
        ("text", "x" * 100, "x" * 100),
        ("clob", "", ""),
        ("blob", bytearray(b"\x00\xff"), b"\x00\xff"),
        (bytes, memoryview(b"a"), b"a"),
        ("decimal", "1.25", Decimal("1.25")),
        (Decimal, 1.1, Decimal("1.1")),
        ("bool", 1, True),
        ("boolean", False, False),
        ("date", NOON.date(), NOON.date()),
        ("datetime", NOON, NOON),
        (datetime, NOON.date(), datetime(2020, 2, 29)),
        ("time", NOON.time(), NOON.time()),
    ],
)
def test_values_are_taken_as_the_column_holds_them(
    dialect: str, value_type: Any, given: Any, stored: Any
) -> None:
    encoded = values_of(value_type, dialect).encode(given)
    assert encoded == stored
    assert type(encoded) is type(stored)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("value_type", "given", "error"),
    [
        (float, "five", InvalidValue),
        (float, math.nan, InvalidValue),
        (float, 2**53 + 1, InvalidValue),
        (float, 10**400, InvalidValue),
        (float, Fraction(1, 3), InvalidValue),
        (float, None, InvalidType),
        (float, {}, InvalidType),
        (int, 1.5, InvalidValue),
        (int, 2**63, InvalidValue),
        (int, "x", InvalidValue),
        (int, math.inf, InvalidValue),
        (int, None, InvalidType),
        (str, "\ud800", InvalidValue),
        (str, b"a", InvalidType),
        (str, None, InvalidType),
        (str, True, InvalidType),
        (bytes, "a", InvalidType),
        (Decimal, "NaN", InvalidValue),
        (Decimal, "x", InvalidValue),
        (Decimal, None, InvalidType),
        (bool, 2, InvalidType),
        (bool, "1", InvalidType),
        (date, NOON, InvalidType),
        (datetime, AWARE, InvalidValue),
        (datetime, "2020-02-29", InvalidType),
        (time, NOON, InvalidType),
        (time, time(1, tzinfo=timezone.utc), InvalidValue),
        (types.Uuid, None, InvalidType),
    ],
)
def test_what_a_column_would_change_is_refused(
    dialect: str, value_type: Any, given: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="cannot be stored") as caught:
        values_of(value_type, dialect).encode(given)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("dialect", "value_type", "given"),
    [
        ("postgresql", "str", "x" * 256),
        ("mysql", "str", "x" * 255 + " "),
        ("unknown", "str", "x" * 256),
        ("mysql", "text", "x" * 101),
        ("mysql", "blob", b"x" * 101),
        ("mysql", mysql.TINYTEXT(), "é" * 128),
        ("postgresql", "str", "a\0b"),
        ("mysql", float, math.inf),
        ("unknown", float, math.inf),
        ("mysql", types.Float(24), 0.1),
        ("postgresql", types.REAL(), 0.1),
        ("postgresql", types.REAL(), 1e300),
        ("postgresql", types.SmallInteger(), 2**15),
        ("mysql", types.Integer(), -(2**31) - 1),
        ("mysql", mysql.BIGINT(unsigned=True), -1),
        ("postgresql", types.Numeric(6, 2), "12345"),
        ("mysql", types.Numeric(6, 2), "1.234"),
        ("mysql", "decimal", "1e36"),
        ("sqlite", "decimal", "0.12345678901234567891"),
        ("mysql", mysql.DATETIME(), NOON),
        ("postgresql", types.DateTime(timezone=True), NOON),
        ("sqlite", types.DateTime(timezone=True), AWARE),
    ],
)
def test_limits_of_single_dialects(dialect: str, value_type: Any, given: Any) -> None:
    with pytest.raises(InvalidValue, match="cannot be stored"):
        values_of(value_type, dialect).encode(given)


@pytest.mark.parametrize(
    ("dialect", "value_type", "given"),
    [
        ("sqlite", "str", "x" * 1000 + "\0"),
        ("postgresql", "text", "x" * 1000),
        ("sqlite", float, math.inf),
        ("postgresql", float, -math.inf),
        ("mysql", types.Float(), 0.1),
        ("postgresql", types.REAL(), 0.5),
        ("mysql", mysql.BIGINT(unsigned=True), 2**64 - 1),
        ("postgresql", types.Numeric(6, 2), "1234.5"),
        ("mysql", "datetime", NOON),
        ("postgresql", types.DateTime(timezone=True), AWARE),
    ],
)
def test_limits_of_others(dialect: str, value_type: Any, given: Any) -> None:
    assert values_of(value_type, dialect).encode(given) in (given, Decimal("1234.5"))


class Color(enum.Enum):
    """Some values."""

    red = 1


def test_types_of_sqlalchemy_bind_as_they_say() -> None:
    colors = values_of(types.Enum(Color))
    assert colors.encode(Color.red) is Color.red
    assert colors.bind is not None
    assert colors.bind(Color.red) == "red"
    with pytest.raises(InvalidValue, match="green"):
        colors.encode("green")
    ids = values_of(types.Uuid)
    assert ids.encode(uuid.UUID(int=1)) == uuid.UUID(int=1)
    with pytest.raises(InvalidType, match="not an id"):
        ids.encode("not an id")


@pytest.mark.parametrize("value_type", ["nosuch", list, 5, None, ["str"], lambda: None])
def test_an_unknown_value_type_is_an_error_that_lists_the_known_ones(value_type: Any) -> None:
    with pytest.raises(InvalidValue, match="value_type.*decimal"):
        column_type(value_type, 1, 1)


class Upper(types.UserDefinedType[str]):
    """A type whose values the server changes."""

    def bind_expression(self, bindvalue: Any) -> Any:
        """Let the server compute what is stored."""
        return sqlalchemy.func.upper(bindvalue)


def test_a_type_that_computes_in_the_server_is_refused() -> None:
    with pytest.raises(InvalidValue, match="server"):
        column_type(Upper, 1, 1)


@pytest.mark.parametrize(
    ("value_type", "raw", "read"),
    [
        (float, Decimal("2.5"), 2.5),
        (float, 2, 2.0),
        (int, Decimal("2"), 2),
        (int, 2.5, 2.5),
        (bytes, memoryview(b"a"), b"a"),
        (Decimal, 1.1, Decimal("1.1")),
        (bool, 1, True),
        (str, 5, 5),
        (date, "2020-02-29", NOON.date()),
        (datetime, "2020-02-29 12:30:15.123456", NOON),
    ],
)
def test_what_drivers_return_is_read_as_the_columns_type(value_type: Any, raw: Any, read: Any) -> None:
    decode = values_of(value_type).decoder([raw], None)
    assert decode is not None
    assert decode(raw) == read
    assert type(decode(raw)) is type(read)
    assert values_of(float).decoder([1.5, 2.5], None) is None


@pytest.mark.parametrize(
    ("value_type", "raw"),
    [
        (float, "x"),
        (int, b"x"),
        (str, b"x"),
        (bytes, "x"),
        (bool, 2),
        (date, "x"),
        (datetime, 5),
        (Decimal, "x"),
    ],
)
def test_anything_else_is_damaged(value_type: Any, raw: Any) -> None:
    decode = values_of(value_type).decoder([raw], None)
    assert decode is not None
    with pytest.raises(DamagedData):
        decode(raw)


# --- statements --------------------------------------------------------------------------------------


def statements(dialect: str, shape: Shape, value_type: Any = float, table: str = "t") -> Statements:
    values = values_of(value_type, dialect) if "value" in shape.payload else None
    return Statements(dialect_of(dialect), table, shape, values, None)


def test_one_insert_does_all_where_the_dialect_can() -> None:
    r_time = f'COALESCE("r_time", {NO_BUCKET})'
    row = "(?, ?, ?, ?, ?)"
    assert statements("sqlite", COUNT).insert(2) == (
        'INSERT INTO "t" ("name", "interval", "i_time", "r_time", "count") '
        f'VALUES {row}, {row} ON CONFLICT ("name", "interval", "i_time", {r_time}) '
        'DO UPDATE SET "count" = "t"."count" + excluded."count"'
    )
    assert statements("mysql", GAUGE).insert(1).endswith(
        "VALUES (%s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE `value` = VALUES(`value`)"
    )
    unnest = statements("postgresql", SET, "str").unnest
    assert unnest is not None
    assert "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[])" in unnest
    assert unnest.endswith("DO NOTHING")
    assert "sha256" in unnest
    assert statements("sqlite", SERIES).insert(1).endswith("VALUES (?, ?, ?, ?, ?, ?)")
    assert "CONFLICT" not in statements("unknown", COUNT).insert(1, upsert=False)


def test_values_too_long_for_an_index_are_hashed() -> None:
    assert statements("mysql", HISTOGRAM, "text").generated() == {
        "r_key": f"COALESCE(`r_time`, {NO_BUCKET})",
        "value_key": "UNHEX(SHA2(`value`, 256))",
    }
    assert statements("mysql", HISTOGRAM).index_columns() == "`name`, `interval`, `i_time`, `r_key`, `value`"
    assert statements("sqlite", SET, "text").index_columns().endswith(', "value"')


def test_parameters_and_names_are_spelled_in_the_drivers_style() -> None:
    assert statements("unknown", COUNT, table="a:b").insert(1, upsert=False) == (
        'INSERT INTO "a\\:b" ("name", "interval", "i_time", "r_time", "count") '
        "VALUES (:p0, :p1, :p2, :p3, :p4)"
    )
    assert statements("postgresql", COUNT, table='a"%').table == '"a""%%"'
    assert [family_of(dialect_of(name)) for name in DIALECTS] == ["sqlite", "postgresql", "mysql", None]
    assert family_of(sqlite.dialect(paramstyle="numeric")) is None


def test_names_that_belong_to_a_table_are_short_and_unique() -> None:
    assert shortened("t", "ids") == "t_ids"
    long = [shortened("ü" * 40 + end, "ids") for end in "ab"]
    assert len(set(long)) == 2
    assert all(len(name.encode()) <= 60 for name in long)
