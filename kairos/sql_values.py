"""What columns of SQL databases take and give back, type by type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from datetime import time as daytime
from decimal import Decimal, InvalidOperation
from operator import index
from reprlib import Repr
from struct import pack, unpack
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    bindparam,
    types,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeEngine

from .exceptions import DamagedData, InvalidType, InvalidValue

Row = tuple[Any, ...]

#: The dialects that kairos has words for, and the family that each belongs to.
_FAMILIES: Final[Mapping[str, str]] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
#: Placeholders of the drivers that are spoken to directly.
MARKS: Final[Mapping[str, str]] = {"qmark": "?", "format": "%s", "pyformat": "%s"}


def family_of(dialect: Dialect) -> str | None:
    """Return the name of a dialect's family, None for those that get the generic fallback."""
    return _FAMILIES.get(dialect.name) if dialect.paramstyle in MARKS else None


_shown: Final = Repr()
_shown.maxstring = _shown.maxother = 80


def shown(value: Any) -> str:
    """Return a value for a message, however long it is."""
    return _shown.repr(value)


Kind = Literal[
    "float", "int", "text", "bytes", "decimal", "bool", "date", "datetime", "time", "other"
]

#: What the driver returns for each kind when nothing has to be converted.
_PLAIN: Final[Mapping[str, frozenset[type]]] = {
    "float": frozenset({float}),
    "int": frozenset({int}),
    "text": frozenset({str}),
    "bytes": frozenset({bytes}),
    "decimal": frozenset({Decimal}),
    "bool": frozenset({bool}),
    "date": frozenset({date}),
    "datetime": frozenset({datetime}),
    "time": frozenset({daytime}),
    "other": frozenset(),
}

_TYPES: Final[Mapping[Any, Callable[[int, int], TypeEngine[Any]]]] = {
    "blob": lambda string, text: LargeBinary(text),
    "bool": lambda string, text: Boolean(),
    "boolean": lambda string, text: Boolean(),
    "clob": lambda string, text: Text(text),
    "date": lambda string, text: Date(),
    "datetime": lambda string, text: DateTime(),
    "decimal": lambda string, text: Numeric(),
    "float": lambda string, text: Float(),
    "int": lambda string, text: BigInteger(),
    "int64": lambda string, text: BigInteger(),
    "integer": lambda string, text: BigInteger(),
    "long": lambda string, text: BigInteger(),
    "str": lambda string, text: String(string),
    "string": lambda string, text: String(string),
    "text": lambda string, text: Text(text),
    "time": lambda string, text: Time(),
    "unicode": lambda string, text: String(string),
}
_NAMES_OF_TYPES: Final[Mapping[Any, str]] = {
    bool: "bool",
    bytes: "blob",
    date: "date",
    datetime: "datetime",
    Decimal: "decimal",
    float: "float",
    int: "int",
    str: "str",
    daytime: "time",
}


def column_type(value_type: Any, string_length: int, text_length: int) -> TypeEngine[Any]:
    """Return the SQLAlchemy type that a ``value_type`` stands for.

    :raises InvalidValue, InvalidType: when it stands for none.
    """
    if isinstance(value_type, type) and issubclass(value_type, TypeEngine):
        value_type = value_type()
    if isinstance(value_type, TypeEngine):
        if value_type.bind_expression(bindparam("value")) is not None:
            raise InvalidValue(
                f"value_type {value_type!r} is not supported: it has the server compute what is stored"
            )
        return value_type
    try:
        name = _NAMES_OF_TYPES.get(value_type, value_type)
        return _TYPES[name](string_length, text_length)
    except (KeyError, TypeError) as error:
        raise InvalidValue(
            f"value_type {value_type!r} is unknown: use a type of SQLAlchemy, a Python type "
            f"({', '.join(kind.__name__ for kind in _NAMES_OF_TYPES)}) or one of {', '.join(_TYPES)}"
        ) from error


def created_type(
    type_: TypeEngine[Any], dialect: Dialect, string_length: int, collation: str | None
) -> TypeEngine[Any]:
    """Return the type of a new column that keeps what a type promises, in this dialect."""
    family = family_of(dialect)
    kind: Any = type(type_)
    asked: Any = type_
    # Subtypes of SQLAlchemy's general types are what someone has asked for.
    if kind is Float and asked.precision is None and not asked.asdecimal and family == "mysql":
        return Double()
    if kind in (String, types.Unicode) and asked.length is None and family != "postgresql":
        type_ = asked = kind(string_length)
    if kind in (Text, types.UnicodeText) and family == "postgresql":
        return kind()  # type: ignore[no-any-return]
    if family != "mysql":
        return type_
    exact: dict[str, Any] = {}
    if collation is not None and getattr(type_, "collation", None) is None:
        exact = {"charset": "utf8mb4", "collation": collation}
    if kind in (String, types.Unicode):
        return mysql.VARCHAR(asked.length, **exact)
    if kind in (Text, types.UnicodeText):
        return mysql.TEXT(asked.length, **exact)
    if kind is DateTime:
        return mysql.DATETIME(fsp=6)
    if kind is Time:
        return mysql.TIME(fsp=6)
    if kind is Numeric and asked.precision is None and asked.asdecimal:
        return Numeric(65, 30)
    return type_


#: The general types of SQLAlchemy by what they hold, special ones before those that they derive from.
_KINDS: Final[tuple[tuple[type[TypeEngine[Any]], Kind], ...]] = (
    (Enum, "other"),
    (Boolean, "bool"),
    (Integer, "int"),
    (Float, "float"),
    (Numeric, "decimal"),
    (String, "text"),
    (LargeBinary, "bytes"),
    (types.BINARY, "bytes"),
    (types.VARBINARY, "bytes"),
    (DateTime, "datetime"),
    (Date, "date"),
    (Time, "time"),
)


def _kind(type_: TypeEngine[Any]) -> Kind:
    kind: Kind = next((kind for base, kind in _KINDS if isinstance(type_, base)), "other")
    if isinstance(type_, (Float, Numeric)):
        decimals = getattr(type_, "asdecimal", False)
        if kind == "decimal":
            return "decimal" if decimals else "float"
        # MySQL's own types say so by default, and nobody means it.
        if decimals and type(type_) in (Float, Double):
            return "other"
    return "bytes" if type(type_).__name__.endswith("BLOB") else kind


#: Bytes that the texts and blobs of MySQL hold, and bits of its integers.
_SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("TINYTEXT", "TINYBLOB"), 2**8 - 1),
    **dict.fromkeys(("TEXT", "BLOB"), 2**16 - 1),
    **dict.fromkeys(("MEDIUMTEXT", "MEDIUMBLOB"), 2**24 - 1),
    **dict.fromkeys(("LONGTEXT", "LONGBLOB"), 2**32 - 1),
}
_BITS: Final[Mapping[str, int]] = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "BIGINT": 64}


class Values:
    """Say what a column takes, how the driver is given it, and what reading it gives back.

    What a column cannot hold exactly is refused here, since stores differ in what they do of it: some
    raise, others round, cut, or store NULL.

    :ivar limits: equal for two columns of one kind that take the same values.
    """

    def __init__(self, type_: TypeEngine[Any], dialect: Dialect) -> None:
        self.type = type_
        self.kind = _kind(type_)
        family = family_of(dialect)
        self._family = family
        implementation = type_.dialect_impl(dialect)
        # Drivers take most kinds as they are; those that SQLite lacks are the exceptions.
        adapts = family is None or self.kind in ("decimal", "date", "datetime", "time", "other")
        self.bind = implementation.bind_processor(dialect) if adapts else None
        if family is None and self.kind in ("bytes", "bool"):
            self.bind = None
        self._implementation = implementation
        self._dialect = dialect
        self._result = (
            implementation.result_processor(dialect, None)
            if self.kind in ("date", "datetime", "time")
            else None
        )
        self.single = self.kind == "float" and self._is_single()
        self.low, self.high = self._whole_range()
        self.length, self.size = self._longest()
        self.precision, self.scale = self._digits()
        self.zoned = bool(getattr(type_, "timezone", False)) and family != "sqlite"
        self.micro = self._microseconds()
        self.encode: Callable[[Any], Any] = getattr(self, f"_encode_{self.kind}")

    # --- what the type says ---

    @property
    def limits(self) -> Row:
        """Return everything that decides which values are taken."""
        whole = (self.low, self.high) if self.kind == "int" else ()
        digits = (self.precision, self.scale, self.micro, self.zoned)
        return (self.kind, self.single, whole, self.length, self.size, digits)

    def _is_single(self) -> bool:
        kind = self.type
        precision = getattr(kind, "precision", None)
        if self._family == "mysql":
            return not isinstance(kind, (Double, mysql.REAL)) and (precision or 0) <= 24
        if self._family == "postgresql":
            return isinstance(kind, types.REAL) or (precision is not None and precision <= 24)
        return False

    def _whole_range(self) -> tuple[int, int]:
        bits = 64
        if self._family in ("postgresql", "mysql"):
            bits = _BITS.get(type(self.type).__name__, 0) or (
                64
                if isinstance(self.type, BigInteger)
                else 16
                if isinstance(self.type, SmallInteger)
                else 32
            )
        if getattr(self.type, "unsigned", False):
            return 0, 2**bits - 1
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def _longest(self) -> tuple[int | None, int | None]:
        """Return how many characters, and how many bytes, the column holds."""
        length = getattr(self.type, "length", None)
        if self.kind not in ("text", "bytes") or self._family == "sqlite":
            return None, None
        size = None
        if self._family == "mysql":
            size = _SIZES.get(type(self.type).__name__)
        elif self._family == "postgresql" and (self.kind == "bytes" or isinstance(self.type, Text)):
            length = None
        return (length, size) if self.kind == "text" else (None, length or size)

    def _digits(self) -> tuple[int | None, int | None]:
        if self.kind != "decimal" or self._family == "sqlite":
            return None, None
        precision, scale = getattr(self.type, "precision", None), getattr(self.type, "scale", None)
        return precision, scale if precision is None else scale or 0

    def _microseconds(self) -> bool:
        """Tell whether the column keeps fractions of a second."""
        if self._family == "mysql" and self.kind in ("datetime", "time"):
            return getattr(self.type, "fsp", None) == 6
        return True

    # --- writing ---

    def _refuse(self, value: Any, reason: Any, kind: type[Exception] = InvalidValue) -> Exception:
        return kind(f"value {shown(value)} cannot be stored as {self.type!r}: {reason}")

    def _encode_float(self, value: Any) -> float:
        if type(value) is not float:
            value = self._as_float(value)
        if value - value != 0.0 and (value != value or self._family not in ("sqlite", "postgresql")):
            raise self._refuse(value, "it is not a finite number")
        if self.single:
            try:
                exact = unpack("f", pack("f", value))[0] == value
            except OverflowError:
                exact = False
            if not exact:
                raise self._refuse(
                    value, "the column is of single precision; change its type to DOUBLE PRECISION"
                )
        result: float = value
        return result

    def _as_float(self, value: Any) -> float:
        try:
            result = float(value)
        except (ValueError, OverflowError) as error:
            raise self._refuse(value, error) from error
        except TypeError as error:
            raise self._refuse(value, error, InvalidType) from error
        # 0.1 stands for the same number as text, as a decimal and as a double.
        text = isinstance(value, (str, bytes)) or (
            isinstance(value, Decimal) and Decimal(repr(result)) == value
        )
        if not text and result != value and value == value:
            raise self._refuse(value, "no double is equal to it")
        return result

    def _encode_int(self, value: Any) -> int:
        if type(value) is not int:
            value = self._as_int(value)
        if not self.low <= value <= self.high:
            raise self._refuse(value, f"it is not within {self.low} and {self.high}")
        result: int = value
        return result

    def _as_int(self, value: Any) -> int:
        try:
            return index(value)
        except TypeError:
            pass
        try:
            result = int(value)
        except (ValueError, OverflowError) as error:
            raise self._refuse(value, error) from error
        except TypeError as error:
            raise self._refuse(value, error, InvalidType) from error
        if not isinstance(value, (str, bytes)) and result != value:
            raise self._refuse(value, "it is not a whole number")
        return result

    def _encode_text(self, value: Any) -> str:
        if not isinstance(value, str):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise self._refuse(value, "it is not text", InvalidType)
            value = str(value)
        size = len(value)
        if not value.isascii():
            try:
                size = len(value.encode())
            except UnicodeEncodeError as error:
                raise self._refuse(value, error) from error
        if self.length is not None and len(value) > self.length:
            raise self._refuse(value, f"it has {len(value)} characters, the column holds {self.length}")
        if self.size is not None and size > self.size:
            raise self._refuse(value, f"it has {size} bytes, the column holds {self.size}")
        if self._family == "postgresql" and "\0" in value:
            raise self._refuse(value, "PostgreSQL does not store NUL in text")
        return str(value)

    def _encode_bytes(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise self._refuse(value, "it is not bytes", InvalidType)
        result = bytes(value)
        if self.size is not None and len(result) > self.size:
            raise self._refuse(value, f"it has {len(result)} bytes, the column holds {self.size}")
        return result

    def _encode_decimal(self, value: Any) -> Decimal:
        try:
            # A float stands for the number that it is written as.
            result = Decimal(repr(float(value)) if isinstance(value, float) else value)
        except (InvalidOperation, ValueError) as error:
            raise self._refuse(value, "it is not a number") from error
        except TypeError as error:
            raise self._refuse(value, error, InvalidType) from error
        if not result.is_finite():
            raise self._refuse(value, "it is not a finite number")
        if self._family == "sqlite":
            if Decimal(repr(float(result))) != result:
                raise self._refuse(value, "SQLite keeps decimals as doubles, and none is equal to it")
        elif self.precision is not None and self.scale is not None:
            _, digits, exponent = result.normalize().as_tuple()
            decimals = max(0, -int(exponent))
            if decimals > self.scale or len(digits) + int(exponent) > self.precision - self.scale:
                raise self._refuse(
                    value, f"the column holds {self.precision} digits, {self.scale} of them decimals"
                )
        return result

    def _encode_bool(self, value: Any) -> bool:
        if value is True or value is False:
            return bool(value)
        if isinstance(value, (str, bytes)) or value not in (0, 1):
            raise self._refuse(value, "it is neither True nor False", InvalidType)
        return bool(value)

    def _encode_date(self, value: Any) -> date:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self._refuse(value, "it is not a date", InvalidType)
        return value

    def _encode_datetime(self, value: Any) -> datetime:
        if not isinstance(value, datetime):
            if not isinstance(value, date):
                raise self._refuse(value, "it is not a datetime", InvalidType)
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a date has no zone
        result: datetime = value
        self._check_moment(result)
        return result

    def _encode_time(self, value: Any) -> daytime:
        if not isinstance(value, daytime):
            raise self._refuse(value, "it is not a time", InvalidType)
        self._check_moment(value)
        return value

    def _check_moment(self, value: datetime | daytime) -> None:
        if (value.utcoffset() is not None) != self.zoned:
            aware = "a time zone" if self.zoned else "no time zone"
            raise self._refuse(value, f"the column holds values with {aware} only")
        if value.microsecond and not self.micro:
            raise self._refuse(value, "the column holds whole seconds only")

    def _encode_other(self, value: Any) -> Any:
        if value is None:
            raise self._refuse(value, "it is None", InvalidType)
        if self.bind is not None:
            try:
                bound = self.bind(value)
                if isinstance(self.type, Enum) and bound not in self.type.enums:
                    raise LookupError(f"it is none of {', '.join(self.type.enums)}")
            except (ValueError, LookupError, ArithmeticError, StatementError) as error:
                raise self._refuse(value, error) from error
            except (TypeError, AttributeError) as error:
                raise self._refuse(value, error, InvalidType) from error
        return value

    # --- reading ---

    def decoder(self, raws: Iterable[Any], code: Any) -> Callable[[Any], Any] | None:
        """Return what turns raw values into the column's own type, None if they are of that type.

        :param code: the driver's type code of the column.
        """
        if self.kind == "other":
            return self._implementation.result_processor(self._dialect, code)
        return None if _PLAIN[self.kind].issuperset(map(type, raws)) else self._decode

    def _decode(self, raw: Any) -> Any:
        kind = type(raw)
        if kind in _PLAIN[self.kind]:
            return raw
        if self.kind in ("float", "int", "decimal") and kind in (int, float, Decimal):
            if self.kind == "decimal":
                return Decimal(repr(raw))
            # SQLite keeps what the original put into a column of whole numbers, fractions too.
            return float(raw) if self.kind == "float" or raw != int(raw) else int(raw)
        if self.kind == "bytes" and kind in (memoryview, bytearray):
            return bytes(raw)
        if self.kind == "bool" and kind is int and raw in (0, 1):
            return bool(raw)
        if self.kind == "text" and kind in (int, float):
            return raw
        if self._result is not None:
            try:
                result = self._result(raw)
            except (ValueError, TypeError, AttributeError) as error:
                raise DamagedData(f"{shown(raw)} is no {self.kind}: {error}") from error
            if type(result) in _PLAIN[self.kind]:
                return result
        raise DamagedData(f"{shown(raw)} is not of the kind {self.kind!r}")
