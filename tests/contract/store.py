"""A backend under test: it makes series, and tells what lies in the store without the help of kairos."""

from __future__ import annotations

from typing import Any

import pytest

#: The types, and the configurations of intervals that most tests take.
TYPES = ("series", "histogram", "count", "gauge", "set")
MINUTE = {"minute": {"step": 60}}
HOUR = {"hour": {"step": 3600, "resolution": 60}}
BOTH = {**MINUTE, **HOUR}
KEPT = {
    "minute": {"step": 60, "steps": 10},
    "hour": {"step": 3600, "resolution": 60, "steps": 5},
    "day": {"step": "daily", "resolution": "1h", "steps": 3},
}


def as_number(text: Any) -> Any:
    """Read a value as a number, as an int where it is whole; the ``read_func`` of most tests."""
    number = float(text)
    return int(number) if number.is_integer() else number


class Store:
    """Wrap the ``backend`` fixture."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.kind: str = backend.kind
        self.name: str = backend.name
        self.client = backend.client
        self.made: list[Any] = []
        self.arguments: dict[int, Any] = {}

    def make(self, kind: str = "series", intervals: Any = None, **options: Any) -> Any:
        """Make a series; ``intervals`` are those of a minute and an hour by default."""
        options = self.options(options)
        intervals = BOTH if intervals is None else intervals
        series = self.backend.make(kind, intervals, **options)
        self.made.append(series)
        self.arguments[id(series)] = kind, intervals, options
        return series

    def again(self, series: Any) -> Any:
        """Make another series on the same data as one that was made here."""
        kind, intervals, options = self.arguments[id(series)]
        return self.backend.make(kind, intervals, **options)

    def numbers(self, kind: str = "series", intervals: Any = None, **options: Any) -> Any:
        """Make a series whose values read as numbers, alike on every store."""
        return self.make(kind, intervals, **{"read_func": as_number, **options})

    def texts(self, kind: str = "series", intervals: Any = None, **options: Any) -> Any:
        """Make a series whose values are texts, alike on every store."""
        if self.kind == "sql":
            options = {"value_type": "text" if kind != "histogram" else "string", **options}
        return self.make(kind, intervals, **options)

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return options without those that only other kinds of backends know."""
        own = {"value_type": "sql", "string_length": "sql", "encoding": "redis"}
        return {
            key: value for key, value in options.items() if own.get(key, self.kind) == self.kind
        }

    def needs_events(self) -> None:
        """Skip the rest of a test where inserts cannot be given an ``id``."""
        if self.name == "fakeredis":
            pytest.skip("a server without scripting knows no ids")

    # --- looking -----------------------------------------------------------------------------------------

    def look(self, *series: Any) -> list[Any]:
        """Return everything that lies in the store for these series, or for all that were made."""
        found: list[Any] = []
        for each in series or self.made:
            found += getattr(self, f"_look_{self.kind}")(each)
        unique: list[Any] = []
        for entry in found:
            if entry not in unique:
                unique.append(entry)
        return unique

    def _look_redis(self, series: Any) -> list[Any]:
        client = self.client
        readers = {
            "list": lambda key: client.lrange(key, 0, -1),
            "hash": client.hgetall,
            "string": client.get,
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1),
        }
        keys = self.redis_keys(series)
        found = []
        for key in keys:
            kind = client.type(key)
            kind = kind.decode() if isinstance(kind, bytes) else kind
            if kind != "none":
                found.append((key, kind, readers[kind](key)))
        return found

    def redis_keys(self, series: Any) -> list[bytes]:
        """Return all keys under the prefix of a series, sorted."""
        start = series._prefix.encode()
        pattern = b"".join(
            b"\\" + bytes([each]) if bytes([each]) in b"*?[]\\" else bytes([each]) for each in start
        )
        keys = {
            key.encode() if isinstance(key, str) else key
            for key in self.client.scan_iter(match=pattern + b"*", count=1000)
        }
        return sorted(keys)

    def mongo_database(self, series: Any) -> Any:
        """Return the database that a series lies in."""
        client = series._client
        return client if hasattr(client, "list_collection_names") else client.get_database("kairos")

    def _look_mongo(self, series: Any) -> list[Any]:
        database = self.mongo_database(series)
        found = []
        for collection in sorted(database.list_collection_names()):
            for document in database[collection].find():
                found.append((collection, document))
        return found

    def _look_sql(self, series: Any) -> list[Any]:
        from sqlalchemy import inspect, text

        engine = series._client
        name = self.sql_table(series)
        if not inspect(engine).has_table(name):
            return []
        quoted = engine.dialect.identifier_preparer.quote(name)
        with engine.connect() as connection:
            # No reflection: it does not know every index.
            rows = connection.execute(text(f"SELECT * FROM {quoted}"))
            return [dict(row._mapping) for row in rows]

    def sql_table(self, series: Any) -> str:
        """Return the name of the table of a series."""
        return str(series._table.name)
