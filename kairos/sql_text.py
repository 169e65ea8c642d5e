"""The text of every SQL statement, dialect by dialect: no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal

from sqlalchemy.engine import Dialect

from .sql_values import MARKS, Row, Values, family_of

#: Stands for "no resolution bucket" in rules of uniqueness, where NULL would equal nothing, not even
#: itself. No bucket has this number.
NO_BUCKET: Final = -(2**63 - 1)
#: The columns that tell buckets apart.
COMMON: Final = ("name", "interval", "i_time", "r_time")
#: Texts of statements are kept for so few rows; longer ones are made when they are needed.
_KEPT: Final = 16


@dataclass(frozen=True)
class Shape:
    """Say what the rows of one type look like, and what a row does to one that is there already.

    :ivar payload: the columns beyond name, interval and buckets.
    :ivar key: those of them that tell rows of one bucket apart.
    :ivar rule: ``append`` a row; ``add`` the last column; ``replace`` it; ``ignore`` the second row.
    """

    payload: tuple[str, ...]
    key: tuple[str, ...]
    rule: Literal["append", "add", "replace", "ignore"]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return all columns, in the order of the parameters of an insert."""
        return COMMON + self.payload


@dataclass(frozen=True)
class Family:
    """Say how a family of dialects spells what standard SQL has no words for.

    Names of columns and tables stand in braces, parameters are NUL until the driver's style is known.

    :ivar conflict: what an insert does with a row that is there already; None where it cannot say.
    :ivar proposed: the value that the insert came with.
    :ivar hashes: kinds of values that may be too long for an index, and the expression that stands for
        them there.
    :ivar generated: whether expressions need a generated column to be part of an index.
    :ivar some: deletes at most so many rows of a condition.
    :ivar unnest: the types as which columns of many rows are handed over as arrays, where that is best.
    :ivar number: a condition that a column holds a finite number: with anything else the whole statement
        ends with an integer overflow. Empty where columns of numbers hold nothing else.
    """

    conflict: str | None = None
    ignore: str = ""
    proposed: str = ""
    hashes: Mapping[str, str] | None = None
    generated: bool = False
    some: str = "DELETE FROM {table} WHERE {condition}"
    unnest: Mapping[str, str] | None = None
    number: str = ""


_ON_CONFLICT: Final = "ON CONFLICT ({key}) DO UPDATE SET {sets}"

#: Everything that depends on the dialect; whatever is not listed gets the generic fallback.
FAMILIES: Final[Mapping[str | None, Family]] = {
    "sqlite": Family(
        conflict=_ON_CONFLICT,
        ignore="ON CONFLICT ({key}) DO NOTHING",
        proposed="excluded.{column}",
        some=(
            "DELETE FROM {table} WHERE rowid IN "
            "(SELECT rowid FROM {table} WHERE {condition} LIMIT {limit})"
        ),
        # Its columns take anything, and aggregates count text as 0 and leave NULL out. All that is no
        # number is greater than any, infinity included, which the literal stands for; the plus keeps
        # numbers in a column of text from being compared as text. Only the smallest integer has no
        # absolute value; it is not written as a constant, which might be evaluated before there is a row.
        number="(+{column} < 9e999 OR abs(-9223372036854775808 + 0 * {i_time}))",
    ),
    "postgresql": Family(
        conflict=_ON_CONFLICT,
        ignore="ON CONFLICT ({key}) DO NOTHING",
        proposed="excluded.{column}",
        hashes={
            # Nothing else turns text into its bytes and may be part of an index.
            "text": r"sha256(decode(replace({value}, '\', '\\'), 'escape'))",
            "bytes": "sha256({value})",
        },
        # The partitions of a table have rows of the same ctid: the condition tells them apart.
        some=(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY("
            "SELECT ctid FROM {table} WHERE {condition} LIMIT {limit} FOR UPDATE)) AND {condition}"
        ),
        unnest={
            "float": "float8",
            "int": "bigint",
            "text": "text",
            "bytes": "bytea",
            "decimal": "numeric",
            "bool": "boolean",
            "date": "date",
            "datetime": "timestamp",
            "time": "time",
        },
    ),
    "mysql": Family(
        conflict="ON DUPLICATE KEY UPDATE {sets}",
        # INSERT IGNORE would ignore far more than a row that is there already.
        ignore="ON DUPLICATE KEY UPDATE {first} = {table}.{first}",
        proposed="VALUES({column})",
        hashes=dict.fromkeys(("text", "bytes"), "UNHEX(SHA2({value}, 256))"),
        generated=True,
        some="DELETE FROM {table} WHERE {condition} LIMIT {limit}",
    ),
    None: Family(),
}


@dataclass(frozen=True)
class Layout:
    """Say what was found in the database under the name of the table.

    :ivar ruled: whether the store itself sees to one row per bucket, so that upserts are possible.
    :ivar exact: whether names and values are compared exactly.
    :ivar padded: whether trailing blanks are left out of comparisons.
    :ivar lengths: how many characters the columns ``name`` and ``interval`` hold, None for any number.
    :ivar check: refuses values that the column as it is cannot hold, None where the type says it all.
    :ivar count: likewise for what is counted.
    """

    ruled: bool
    exact: bool
    padded: bool
    lengths: tuple[int | None, int | None]
    check: Callable[[Any], Any] | None
    count: Callable[[Any], Any] | None


class Statements:
    """Build the texts of all statements on one table.

    :param layout: of the table as it was found; None while it is to be created.
    """

    def __init__(
        self, dialect: Dialect, table: str, shape: Shape, values: Values | None, layout: Layout | None
    ) -> None:
        name = family_of(dialect)
        self.family = FAMILIES[name]
        self._mark = MARKS[dialect.paramstyle] if name else ""
        self._shape = shape
        self._values = values
        self._exact = layout is None or layout.exact
        self._quote = dialect.identifier_preparer.quote_identifier
        self.table = self._quote(table)
        self.ids = self._quote(shortened(table, "ids"))
        self._inserts: dict[int, str] = {}
        self._selects: dict[Row, str] = {}
        #: A value is handed over so often for one comparison with it.
        self.repeat = 1 if self._exact else 2
        self.unnest = self._unnest()

    def finish(self, sql: str) -> str:
        """Return a statement with the placeholders that it is executed with."""
        if self._mark:
            return sql.replace("\0", self._mark)
        parts = sql.replace(":", "\\:").split("\0")
        return parts[0] + "".join(f":p{number}{part}" for number, part in enumerate(parts[1:]))

    def column(self, name: str) -> str:
        """Return a column's quoted name."""
        return self._quote(name)

    # --- the rule that keeps a bucket to one row ---

    def key_expressions(self) -> list[str]:
        """Return the expressions that are unique together."""
        expressions = [*map(self._quote, COMMON[:3]), self.bucket_key()]
        expressions.extend(map(self.value_key, self._shape.key))
        return expressions

    def bucket_key(self) -> str:
        """Return the expression that stands for ``r_time``."""
        return f"COALESCE({self._quote('r_time')}, {NO_BUCKET})"

    def value_key(self, column: str) -> str:
        """Return the expression that stands for a value."""
        hashed = (self.family.hashes or {}).get(self._values.kind if self._values else "")
        return hashed.format(value=self._quote(column)) if hashed else self._quote(column)

    def generated(self) -> dict[str, str]:
        """Return the generated columns that stand for expressions in an index."""
        columns = {"r_key": self.bucket_key()}
        for column in self._shape.key:
            if self.value_key(column) != self._quote(column):
                columns["value_key"] = self.value_key(column)
        return columns

    def index_columns(self) -> str:
        """Return what is between the parentheses of the index that serves lookups and uniqueness."""
        if self._shape.rule == "append":
            columns = [*COMMON, "insert_time"]
            if self._values and self._values.kind in ("float", "int"):
                # Sums are answered by the index alone.
                columns.append("value")
            return ", ".join(map(self._quote, columns))
        expressions = self.key_expressions()
        if self.family.generated:
            names = {expression: name for name, expression in self.generated().items()}
            expressions = [
                self._quote(names[each]) if each in names else each for each in expressions
            ]
        return ", ".join(expressions)

    # --- writing ---

    def _conflict(self) -> str:
        """Return the clause that makes an insert of a row that is there already an update."""
        shape, family = self._shape, self.family
        if shape.rule == "append":
            return ""
        key = ", ".join(self.key_expressions())
        if shape.rule == "ignore":
            return " " + family.ignore.format(
                key=key, table=self.table, first=self._quote(COMMON[2])
            )
        column = self._quote(shape.payload[-1])
        change = family.proposed.format(column=column)
        if shape.rule == "add":
            change = f"{self.table}.{column} + {change}"
        return " " + (family.conflict or "").format(key=key, sets=f"{column} = {change}")

    def _into(self, upsert: bool) -> tuple[str, str]:
        columns = ", ".join(map(self._quote, self._shape.columns))
        return f"INSERT INTO {self.table} ({columns}) ", self._conflict() if upsert else ""

    def insert(self, rows: int, upsert: bool = True) -> str:
        """Return the statement that writes so many rows."""
        sql = self._inserts.get(rows if upsert else -rows)
        if sql is None:
            head, tail = self._into(upsert)
            row = f"({listed(len(self._shape.columns))})"
            sql = self.finish(f"{head}VALUES {', '.join([row] * rows)}{tail}")
            if rows <= _KEPT:
                self._inserts[rows if upsert else -rows] = sql
        return sql

    def _unnest(self) -> str | None:
        """Return the statement that writes any number of rows, given as one array per column."""
        types = self.family.unnest
        if types is None:
            return None
        known = {
            "name": "text",
            "interval": "text",
            "i_time": "bigint",
            "r_time": "bigint",
            "insert_time": "float8",
            "count": "float8" if self._shape.payload == ("count",) else "bigint",
        }
        if self._values is not None:
            if self._values.kind not in types:
                return None
            zone = "tz" if self._values.zoned else ""
            known["value"] = types[self._values.kind] + zone
        arrays = ", ".join(f"\0::{known[column]}[]" for column in self._shape.columns)
        head, tail = self._into(True)
        return self.finish(f"{head}SELECT * FROM unnest({arrays}){tail}")

    def same(self, column: str) -> str:
        """Return the condition that a column is exactly a parameter (``repeat`` of them)."""
        quoted = self._quote(column)
        if self._exact:
            return f"{quoted} = \0"
        # The first half is for the index, the second for case, accents and trailing blanks.
        return (
            f"({quoted} = \0 AND "
            f"CAST(CONVERT({quoted} USING utf8mb4) AS BINARY) = CAST(\0 AS BINARY))"
        )

    def row_condition(self, coarse: bool) -> str:
        """Return the condition that holds for the rows of one bucket, or of one value in it."""
        text_value = self._values is not None and self._values.kind == "text"
        parts = [self.same("name"), self.same("interval"), f"{self._quote('i_time')} = \0"]
        parts.append(self._quote("r_time") + (" IS NULL" if coarse else " = \0"))
        for column in self._shape.key:
            parts.append(self.same(column) if text_value else f"{self._quote(column)} = \0")
        return " AND ".join(parts)

    def update(self, coarse: bool) -> str:
        """Return the statement that changes the row of a bucket; it changes none where there is none."""
        shape = self._shape
        column = self._quote(shape.payload[-1])
        change = {"add": f"{column} = {column} + \0", "replace": f"{column} = \0"}.get(
            shape.rule, "{0} = {0}".format(self._quote("i_time"))
        )
        return self.finish(f"UPDATE {self.table} SET {change} WHERE {self.row_condition(coarse)}")

    def count_rows(self, coarse: bool) -> str:
        """Return the statement that counts the rows of a bucket."""
        return self.finish(f"SELECT COUNT(*) FROM {self.table} WHERE {self.row_condition(coarse)}")

    def total(self, coarse: bool) -> str:
        """Return the statement that adds up the rows of a bucket."""
        column = self._quote(self._shape.payload[-1])
        return self.finish(
            f"SELECT SUM({column}) FROM {self.table} WHERE {self.row_condition(coarse)}"
        )

    def remove(self, coarse: bool) -> str:
        """Return the statement that deletes the rows of a bucket."""
        return self.finish(f"DELETE FROM {self.table} WHERE {self.row_condition(coarse)}")

    # --- reading ---

    def _range(self, names: int, coarse: bool) -> str:
        quote = self._quote
        name = self.same("name") if names == 1 else f"{quote('name')} IN ({listed(names)})"
        return (
            f" FROM {self.table} WHERE {name} AND {self.same('interval')} "
            f"AND {quote('i_time')} BETWEEN \0 AND \0 "
            f"AND {quote('r_time')} IS {'' if coarse else 'NOT '}NULL"
        )

    def select(self, names: int, coarse: bool) -> str:
        """Return the statement that reads a range: i_time, r_time, value or count, and name if several."""
        sql = self._selects.get((names, coarse))
        if sql is None:
            shape = self._shape
            columns = [*COMMON[2:], *(each for each in shape.payload if each != "insert_time")]
            if names > 1:
                columns.append("name")
            sql = f"SELECT {', '.join(map(self._quote, columns))}{self._range(names, coarse)}"
            if shape.rule == "append":
                order = (*COMMON[2:], "insert_time")
                sql += f" ORDER BY {', '.join(map(self._quote, order))}"
            sql = self._selects[names, coarse] = self.finish(sql)
        return sql

    def aggregate(
        self,
        columns: Sequence[str],
        checked: Sequence[str],
        names: int,
        coarse: bool,
        condense: bool,
    ) -> str:
        """Return the statement that reads aggregates of a range: i_time, r_time, them, name if several.

        :param columns: their expressions.
        :param checked: the columns that must hold finite numbers, see :attr:`Family.number`.
        """
        known = (*columns, names, coarse, condense)
        sql = self._selects.get(known)
        if sql is None:
            group = [self._quote("i_time")]
            if not condense and not coarse:
                group.append(self._quote("r_time"))
            shown = [group[0], group[1] if len(group) > 1 else "NULL", *columns]
            if names > 1:
                group.append(self._quote("name"))
                shown.append(group[-1])
            where = self._range(names, coarse)
            if self.family.number:
                i_time = self._quote("i_time")
                for column in checked:
                    number = self.family.number.format(column=self._quote(column), i_time=i_time)
                    where += f" AND {number}"
            sql = self._selects[known] = self.finish(
                f"SELECT {', '.join(shown)}{where} GROUP BY {', '.join(group)}"
            )
        return sql


def listed(count: int) -> str:
    """Return so many parameters, for a list of them."""
    return ", ".join("\0" * count)


def shortened(table: str, suffix: str) -> str:
    """Return a name that belongs to a table and is short enough for every dialect."""
    name = f"{table}_{suffix}"
    if len(name.encode()) <= 60:
        return name
    digest = blake2b(table.encode(), digest_size=8).hexdigest()
    return f"{table.encode()[:32].decode(errors='ignore')}_{digest}_{suffix}"
