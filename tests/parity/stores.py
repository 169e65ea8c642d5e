"""Put recorded storage into a real store, and take what lies in a store into the recorded form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from tests.contract.store import Store

from .golden import Case


class RedisStorage:
    """Keep a case under a prefix of the test's own, which is put before its prefix or its names."""

    def __init__(self, store: Store, case: Case) -> None:
        self.store = store
        self.case = case
        self.client = store.client
        self.start = store.backend.location(case.type) + "/"
        self.prefixed = bool(case.options.get("prefix"))

    def series(self) -> Any:
        """Return the series that the case was recorded with."""
        from kairos import Timeseries

        options = self.case.options
        if self.prefixed:
            options["prefix"] = self.start + options["prefix"]
        return Timeseries(
            self.client, type=self.case.type, intervals=self.case.intervals, **options
        )

    def name(self, name: str) -> str:
        """Return what a name of the case is called here."""
        return name if self.prefixed else self.start + name

    def put(self) -> None:
        """Store what was recorded."""
        pipeline = self.client.pipeline()
        for recorded, entry in self.case.stored.items():
            key, value = self.start + recorded, entry["value"]
            if entry["type"] == "set":
                pipeline.sadd(key, *value)
            elif entry["type"] == "list":
                pipeline.rpush(key, *value)
            elif entry["type"] == "hash":
                pipeline.hset(key, mapping=value)
            else:
                pipeline.set(key, value)
            if entry["has_ttl"]:
                pipeline.expire(key, entry["ttl"])
        pipeline.execute()

    def take(self) -> dict[str, Any]:
        """Return what lies in the store, without the lifetimes."""
        found = {}
        for key in self.client.scan_iter(match=self.start + "*", count=1000):
            name = key.decode()
            kind = self.client.type(key).decode()
            value: Any
            if kind == "set":
                value = {member.decode() for member in self.client.smembers(key)}
            elif kind == "list":
                value = [each.decode() for each in self.client.lrange(key, 0, -1)]
            elif kind == "hash":
                value = {k.decode(): v.decode() for k, v in self.client.hgetall(key).items()}
            else:
                value = self.client.get(key).decode()
            found[name[len(self.start) :]] = (kind, value)
        return found

    def lifetimes(self) -> dict[str, int]:
        """Return the seconds that each key has left, -1 for ever."""
        return {
            key.decode()[len(self.start) :]: self.client.ttl(key)
            for key in self.client.scan_iter(match=self.start + "*", count=1000)
        }

    def recorded(self) -> dict[str, Any]:
        """Return what was recorded in the form of :meth:`take`."""
        return {
            key: (entry["type"], set(entry["value"]) if entry["type"] == "set" else entry["value"])
            for key, entry in self.case.stored.items()
        }


class MongoStorage:
    """Keep a case in a database of the test's own."""

    def __init__(self, store: Store, case: Case) -> None:
        self.case = case
        self.database = store.client[store.backend.location(case.type)]

    def series(self) -> Any:
        """Return the series that the case was recorded with."""
        from kairos import Timeseries

        return Timeseries(
            self.database, type=self.case.type, intervals=self.case.intervals, **self.case.options
        )

    def name(self, name: str) -> str:
        """Return what a name of the case is called here."""
        return name

    def put(self) -> None:
        """Store what was recorded, with the indexes of the original."""
        for name, content in self.case.stored.items():
            collection = self.database[name]
            collection.insert_many([_restored(document) for document in content["documents"]])
            for index, description in content["indexes"].items():
                if index != "_id_":
                    options = {"expireAfterSeconds": description["expireAfterSeconds"]}
                    collection.create_index(
                        [(key, int(way)) for key, way in description["key"]],
                        name=index,
                        **{key: value for key, value in options.items() if value is not None},
                    )

    def take(self) -> dict[str, list[dict[str, Any]]]:
        """Return the documents of each collection."""
        return {
            name: list(self.database[name].find({}, {"_id": 0}))
            for name in sorted(self.database.list_collection_names())
        }

    def recorded(self) -> dict[str, list[dict[str, Any]]]:
        """Return what was recorded in the form of :meth:`take`."""
        return {
            name: [_restored(document) for document in content["documents"]]
            for name, content in self.case.stored.items()
        }


def _restored(document: Mapping[str, Any]) -> dict[str, Any]:
    restored = dict(document)
    if "expire_from" in restored:
        text = restored["expire_from"]["datetime"]
        restored["expire_from"] = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return restored


class SqlStorage:
    """Keep a case in a table of the test's own, or in a SQLite database under the original's name."""

    def __init__(self, store: Store, case: Case, table: str | None = None) -> None:
        self.case = case
        self.engine = store.client
        self.table = table or case.type

    def series(self) -> Any:
        """Return the series that the case was recorded with."""
        from kairos import Timeseries

        options = {**self.case.options, "table_name": self.table}
        return Timeseries(
            self.engine, type=self.case.type, intervals=self.case.intervals, **options
        )

    def name(self, name: str) -> str:
        """Return what a name of the case is called here."""
        return name

    def put(self) -> None:
        """Make the tables that the original made, and store what was recorded."""
        from sqlalchemy import text

        with self.engine.begin() as connection:
            for each in self.case.stored["schema"]:
                if each["sql"]:
                    connection.execute(text(each["sql"]))
            for table, rows in self.case.stored["rows"].items():
                for number, row in enumerate(rows):
                    if "insert_time" in row:
                        row = {**row, "insert_time": 1362486896.5 + number / 16}
                    names = ", ".join(f'"{column}"' for column in row)
                    values = ", ".join(f":{column}" for column in row)
                    connection.execute(
                        text(f'INSERT INTO "{table}" ({names}) VALUES ({values})'), row
                    )

    def take(self) -> Counter[Any]:
        """Return the rows, as often as they are there, without insertion times."""
        from sqlalchemy import text

        quoted = self.engine.dialect.identifier_preparer.quote(self.table)
        with self.engine.connect() as connection:
            rows = connection.execute(text(f"SELECT * FROM {quoted}")).mappings().all()
        columns = {column for row in self.case.stored["rows"][self.case.type] for column in row}
        return Counter(_frozen({key: row[key] for key in columns}) for row in rows)

    def recorded(self) -> Counter[Any]:
        """Return what was recorded in the form of :meth:`take`."""
        return Counter(map(_frozen, self.case.stored["rows"][self.case.type]))


def _frozen(row: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((key, value) for key, value in row.items() if key != "insert_time"))
