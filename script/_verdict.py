"""Read back what a load has written, and say whether every value is there exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from _load import ACKNOWLEDGED, INTERVALS, REFUSED, UNKNOWN, Entry

from kairos import Timeseries

MINUTE: Final = 60


@dataclass
class Figures:
    """Count the values of one type in one interval.

    :ivar acknowledged: writes that returned; gauges count buckets whose last write returned.
    :ivar unknown: writes whose answer was lost, or whose process was killed.
    :ivar refused: writes that ended in an error of the driver.
    :ivar found: values that are there.
    :ivar lost: acknowledged values that are not.
    :ivar doubled: values that are there more often than they were written.
    :ivar strange: values in a bucket that nobody wrote them to.
    """

    acknowledged: int = 0
    unknown: int = 0
    refused: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    strange: int = 0

    def __iadd__(self, other: Figures) -> Figures:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    @property
    def good(self) -> bool:
        """Whether all that was acknowledged is there once, and nothing else more than once."""
        return not (self.lost or self.doubled or self.strange)


class Cell:
    """Hold what was written to one bucket of one name, value by value.

    A value that occurs once only (of a series or a set) is judged by itself; values that are counted (of
    a histogram or a count) must be found at least as often as they were acknowledged, and at most as
    often as they were written.
    """

    def __init__(self) -> None:
        self._written: dict[str, Counter[int]] = {
            outcome: Counter() for outcome in (ACKNOWLEDGED, UNKNOWN, REFUSED)
        }

    def add(self, value: int, outcome: str) -> None:
        """Add a write, in the order in which its writer made it."""
        self._written[outcome][value] += 1

    def judge(self, row: Any) -> Figures:
        """Compare with what was found."""
        found = self._occurrences(row)
        sure, unknown, refused = self._written.values()
        figures = Figures(sure.total(), unknown.total(), refused.total(), found.total())
        for value in sure.keys() | unknown.keys() | refused.keys() | found.keys():
            most = sure[value] + unknown[value] + refused[value]
            if not most:
                figures.strange += found[value]
                continue
            figures.lost += max(0, sure[value] - found[value])
            figures.doubled += max(0, found[value] - most)
        return figures

    def _occurrences(self, row: Any) -> Counter[int]:
        return Counter(row)


class CountCell(Cell):
    """Hold what was written to a count: ones only, and the sum is all that can be found."""

    def _occurrences(self, row: Any) -> Counter[int]:
        return Counter({1: row} if row else {})


class GaugeCell(Cell):
    """Hold what one writer wrote to a gauge: the last value counts, or one that may have come later."""

    def __init__(self) -> None:
        super().__init__()
        self._sure: int | None = None
        self._later: list[tuple[int, str]] = []

    def add(self, value: int, outcome: str) -> None:
        """Add a write, in the order in which its writer made it."""
        if outcome == ACKNOWLEDGED:
            self._sure, self._later = value, []
        else:
            self._later.append((value, outcome))

    def judge(self, row: Any) -> Figures:
        """Compare with what was found."""
        outcomes = [outcome for _, outcome in self._later]
        figures = Figures(
            int(self._sure is not None), outcomes.count(UNKNOWN), outcomes.count(REFUSED)
        )
        possible = {self._sure, *(value for value, _ in self._later)}
        figures.found = int(row is not None)
        if row is None:
            figures.lost = figures.acknowledged
        elif row not in possible:
            # An older value, so the last one is lost; or one that was never written.
            figures.lost, figures.strange = figures.acknowledged, 1 - figures.acknowledged
        return figures


_CELLS: Final[Mapping[str, type[Cell]]] = {"count": CountCell, "gauge": GaugeCell}


class Ledger:
    """Gather all that was written, bucket by bucket.

    :ivar errors: how often each error came up.
    """

    def __init__(self, records: Iterable[tuple[Entry, str, str]]) -> None:
        self._cells: dict[tuple[str, str], dict[int, Cell]] = {}
        self.errors: Counter[str] = Counter()
        for entry, outcome, error in records:
            cells = self._cells.setdefault((entry.type, entry.name), {})
            minute = entry.timestamp // MINUTE * MINUTE
            cell = cells.get(minute)
            if cell is None:
                cell = cells[minute] = _CELLS.get(entry.type, Cell)()
            cell.add(entry.value, outcome)
            if error:
                self.errors[error] += 1

    @property
    def names(self) -> list[tuple[str, str]]:
        """Return every (type, name) that was written."""
        return sorted(self._cells)

    def judge(self, series: Mapping[str, Timeseries]) -> Iterator[tuple[str, str, Figures]]:
        """Read everything back and yield (type, interval, figures of one name)."""
        minutes = [minute for cells in self._cells.values() for minute in cells]
        if not minutes:
            return
        first, last = min(minutes), max(minutes)
        for (kind, name), cells in sorted(self._cells.items()):
            for interval in INTERVALS:
                rows: dict[int, Any] = dict(
                    series[kind].series(name, interval, start=first, end=last)
                )
                if interval == "hour":
                    rows = {minute: row for inner in rows.values() for minute, row in inner.items()}
                figures = Figures()
                empty = None if kind == "gauge" else ()
                for minute in rows.keys() | cells.keys():
                    cell = cells.get(minute) or _CELLS.get(kind, Cell)()
                    figures += cell.judge(rows.get(minute, empty))
                yield kind, interval, figures


# --- what a library does not show ----------------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """Tell what lies in the store below the values.

    :ivar what: what was looked at: keys, documents or rows.
    :ivar looked_at: how many.
    :ivar lasting: how many of them would never expire, None where the store does not expire by itself.
    :ivar doubled: buckets that lie there twice, None where the store cannot hold one twice.
    """

    what: str
    looked_at: int
    lasting: int | None
    doubled: int | None

    @property
    def good(self) -> bool:
        """Whether everything expires and nothing lies there twice."""
        return not (self.lasting or self.doubled)

    def __str__(self) -> str:
        parts = [f"{self.looked_at:,} {self.what}"]
        if self.lasting is not None:
            parts.append(f"{self.lasting:,} without an expiry")
        if self.doubled is not None:
            parts.append(f"{self.doubled:,} doubled")
        return ", ".join(parts)


def inspect(kind: str, client: Any, type_name: str, run: str) -> Structure:
    """Look at what a run left of one type, past the library.

    :param kind: of the store: ``redis``, ``mongo`` or ``sql``.
    :param client: as the series uses it.
    """
    look = {"redis": _inspect_redis, "mongo": _inspect_mongo, "sql": _inspect_sql}[kind]
    return look(client, type_name, run)


def _inspect_redis(client: Any, type_name: str, run: str) -> Structure:
    # The claims of ids are named by a digest, so those of all runs are looked at.
    keys = list(client.scan_iter(match=f"*kairos-integration-{type_name}:*", count=1000))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.ttl(key)
        times = pipe.execute()
    return Structure("keys", len(keys), sum(left == -1 for left in times), None)


def _inspect_mongo(database: Any, type_name: str, run: str) -> Structure:
    looked_at = lasting = doubled = 0
    own = {"name": {"$regex": f"^{run}"}}
    bucket = {field: f"${field}" for field in ("name", "interval", "resolution")}
    for interval in INTERVALS:
        collection = database[f"kairos_integration_{type_name}_{interval}"]
        looked_at += collection.count_documents(own)
        lasting += collection.count_documents({**own, "expire_from": {"$exists": False}})
        groups = [{"$match": own}, {"$group": {"_id": bucket, "n": {"$sum": 1}}}]
        for group in collection.aggregate([*groups, {"$match": {"n": {"$gt": 1}}}]):
            doubled += group["n"] - 1
    return Structure("documents", looked_at, lasting, doubled)


def _inspect_sql(engine: Any, type_name: str, run: str) -> Structure:
    import sqlalchemy as sa

    names = ["name", "interval", "i_time", "r_time"]
    if type_name in ("series", "histogram", "set"):
        names.append("value")
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    rows = sa.func.count()
    table = sa.table(f"kairos_integration_{type_name}", *columns)
    grouped = (
        sa.select(rows.label("n"))
        .select_from(table)
        .where(columns[0].like(f"{run}%"))
        .group_by(*columns)
        .subquery()
    )
    numbers = sa.select(sa.func.coalesce(sa.func.sum(grouped.c.n), 0), sa.func.count(grouped.c.n))
    with engine.connect() as connection:
        looked_at, distinct = map(int, connection.execute(numbers).one())
    return Structure("rows", looked_at, None, looked_at - distinct)
