"""MongoDB: kairos, and what a careful engineer would write for the same documents with pymongo."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import kairos

from . import workload
from .bench import need
from .harness import About, Contender, Job, Local, Role, at_most, local, plain, times_faster
from .original import OriginalFailed, Remote

if TYPE_CHECKING:
    from .bench import Bench

Document = dict[str, Any]

#: What each type does to the value of a document, with a value or with all those of a bucket.
_ONE: Final[Mapping[str, Callable[[Any], Document]]] = {
    "series": lambda value: {"$push": {"value": value}},
    "histogram": lambda value: {"$inc": {"value." + repr(value).replace(".", "\uffff"): 1}},
    "count": lambda value: {"$inc": {"value": value}},
    "gauge": lambda value: {"$set": {"value": value}},
    "set": lambda value: {"$addToSet": {"value": value}},
}
_MANY: Final[Mapping[str, Callable[[list[Any]], Document]]] = {
    "series": lambda values: {"$push": {"value": {"$each": values}}},
    "count": lambda values: {"$inc": {"value": sum(values)}},
}
#: Of values written one by one: a few tell what each costs.
_FEW: Final = 50
_LOOKUP: Final = [("name", 1), ("interval", 1), ("resolution", 1)]


class ByHand:
    """Do the jobs for these three intervals, and nothing more."""

    def __init__(self, database: Any, prefix: str, type: str) -> None:
        from pymongo import UpdateOne

        self._update = UpdateOne
        self._minute = database[prefix + "minute"]
        self._hour = database[prefix + "hour"]
        self._daily = database[prefix + "daily"]
        self._type = type
        self._day_start = self._day_end = self._day = 0

    def make_indexes(self, intervals: Mapping[str, Any]) -> None:
        """Make the indexes that a bucket is found by, and the one by which the server deletes it."""
        retentions = {"minute": 7200, "hour": 172800}
        for name, collection in (
            ("minute", self._minute),
            ("hour", self._hour),
            ("daily", self._daily),
        ):
            if name in intervals:
                collection.create_index(_LOOKUP, unique=True)
                if intervals[name].get("steps"):
                    collection.create_index("expire_from", expireAfterSeconds=retentions[name])

    def _day_of(self, timestamp: int) -> int:
        if not self._day_start <= timestamp < self._day_end:
            self._day_start = timestamp - timestamp % 86400
            self._day_end = self._day_start + 86400
            self._day = int(time.strftime("%Y%m%d", time.gmtime(timestamp)))
        return self._day

    def _changes(self, name: str, value: Any) -> Iterator[tuple[Any, Document, Document]]:
        """Yield the collection, the query and the update for each interval."""
        now = int(time.time())
        minute, hour = now // 60, now // 3600
        change = _ONE[self._type](value)
        since = {"expire_from": datetime.fromtimestamp(now, timezone.utc)}
        kept = {**change, "$set": {**change.get("$set", {}), **since}}
        yield self._minute, {"name": name, "interval": minute}, kept
        yield self._hour, {"name": name, "interval": hour, "resolution": minute}, kept
        yield self._daily, {"name": name, "interval": self._day_of(now), "resolution": hour}, change

    def insert(self, name: str, value: Any) -> None:
        """Write a value by an update of each collection."""
        for collection, query, change in self._changes(name, value):
            collection.update_one(query, change, upsert=True)

    def insert_bulk(self, name: str, value: Any) -> None:
        """Write a value by a bulk write of each collection."""
        for collection, query, change in self._changes(name, value):
            collection.bulk_write([self._update(query, change, upsert=True)], ordered=False)

    def bulk(self, inserts: workload.Inserts) -> None:
        """Write many values, merged into one update of each document."""
        minutes: dict[tuple[str, int], list[Any]] = {}
        last: dict[tuple[str, int], float] = {}
        for timestamp, names in inserts.items():
            minute = int(timestamp) // 60
            for name, values in names.items():
                place = name, minute
                if place in minutes:
                    minutes[place] += values
                else:
                    minutes[place] = [*values]
                last[place] = timestamp
        hours: dict[tuple[str, int], list[Any]] = {}
        for (name, minute), values in minutes.items():
            place = name, minute // 60
            hours[place] = hours[place] + values if place in hours else values
        many, update = _MANY[self._type], self._update
        coarse, fine, daily = [], [], []
        for (name, minute), values in minutes.items():
            since = datetime.fromtimestamp(int(last[name, minute]), timezone.utc)
            change = {**many(values), "$set": {"expire_from": since}}
            coarse.append(update({"name": name, "interval": minute}, change, upsert=True))
            query = {"name": name, "interval": minute // 60, "resolution": minute}
            fine.append(update(query, change, upsert=True))
        for (name, hour), values in hours.items():
            query = {"name": name, "interval": self._day_of(hour * 3600), "resolution": hour}
            daily.append(update(query, many(values), upsert=True))
        self._minute.bulk_write(coarse, ordered=False)
        self._hour.bulk_write(fine, ordered=False)
        self._daily.bulk_write(daily, ordered=False)

    def _query(self) -> Document:
        first = workload.START // 3600
        return {"name": workload.NAME, "interval": {"$gte": first, "$lt": first + workload.HOURS}}

    @staticmethod
    def _hours() -> OrderedDict[int, Any]:
        first = workload.START // 3600
        return OrderedDict(
            (hour * 3600, OrderedDict()) for hour in range(first, first + workload.HOURS)
        )

    def read_rows(self, transform: Callable[[Any], Any] | None = None) -> OrderedDict[int, Any]:
        """Read two days, minute by minute, by one cursor."""
        rows = self._hours()
        fields = {"_id": 0, "interval": 1, "resolution": 1, "value": 1}
        found = self._hour.find(self._query(), fields, sort=_LOOKUP, batch_size=5000)
        for document in found:
            value = document["value"]
            rows[document["interval"] * 3600][document["resolution"] * 60] = (
                value if transform is None else transform(value)
            )
        return rows

    def read_condensed(self) -> OrderedDict[int, Any]:
        """Read two days, the minutes of an hour as one list."""
        return OrderedDict(
            (hour, [value for row in rows.values() for value in row])
            for hour, rows in self.read_rows().items()
        )

    def read_lengths(self) -> OrderedDict[int, Any]:
        """Read how many values each hour of two days has, as the server counts them."""
        rows: OrderedDict[int, Any] = OrderedDict((hour, 0) for hour in self._hours())
        sizes = {"_id": "$interval", "count": {"$sum": {"$size": "$value"}}}
        for document in self._hour.aggregate([{"$match": self._query()}, {"$group": sizes}]):
            rows[document["_id"] * 3600] = document["count"]
        return rows

    def read_coarse(self) -> OrderedDict[int, Any]:
        """Read two hours of a coarse interval."""
        first = workload.START // 60
        rows: OrderedDict[int, Any] = OrderedDict(
            (minute * 60, []) for minute in range(first, first + workload.COARSE)
        )
        query = {"name": workload.NAME, "interval": {"$gte": first, "$lt": first + workload.COARSE}}
        fields = {"_id": 0, "interval": 1, "value": 1}
        for document in self._minute.find(query, fields, batch_size=5000):
            rows[document["interval"] * 60] = document["value"]
        return rows


class Store:
    """Hold a database of our own, and count the commands that a client sends."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        need("pymongo")
        import pymongo

        url = bench.mongo
        self.url = f"{url.rstrip('/')}/{bench.token}"
        self.client = pymongo.MongoClient[Document](url)
        stack.callback(self.client.close)
        for name in (bench.token, f"{bench.token}_original"):
            stack.callback(self.client.drop_database, name)
        self.database = self.client[bench.token]
        self._counter = _counter()
        counting = pymongo.MongoClient[Document](url, event_listeners=[self._counter])
        stack.callback(counting.close)
        self.counting = counting[bench.token]

    @staticmethod
    def prefix(key: str) -> str:
        """Return what begins the names of a contender's collections."""
        return f"{key.replace(' ', '_')}_"

    def series(
        self, database: Any, key: str, type: str, intervals: Any = workload.INTERVALS
    ) -> Any:
        """Return a series of kairos for a contender."""
        return kairos.Timeseries(
            database,
            type=type,
            intervals=intervals,
            collection_prefix=self.prefix(key),
        )

    def clear(self, key: str) -> None:
        """Remove what a contender has written, but for the indexes."""
        for name in workload.INTERVALS:
            self.database[self.prefix(key) + name].delete_many({})

    def stored(self, key: str) -> dict[Any, Any]:
        """Return what a contender has stored: value and expiry of each document."""
        found: dict[Any, Any] = {}
        for interval in workload.INTERVALS:
            for document in self.database[self.prefix(key) + interval].find():
                since = document.get("expire_from")
                place = interval, document["name"], document["interval"], document.get("resolution")
                found[place] = document["value"], since and About(since.timestamp())
        return dict(sorted(found.items(), key=str))

    def counts(self, operation: Callable[[], object]) -> Mapping[str, float]:
        """Return the commands of an operation, each of them a round trip."""
        operation()
        before = self._counter.commands
        operation()
        commands = self._counter.commands - before
        return {"round trips": commands, "commands": commands}


def _counter() -> Any:
    from pymongo.monitoring import CommandListener

    class Counter(CommandListener):
        """Count the commands of a client."""

        commands = 0

        def started(self, event: Any) -> None:
            self.commands += 1

        def succeeded(self, event: Any) -> None:
            """Count nothing."""

        def failed(self, event: Any) -> None:
            """Count nothing."""

    return Counter()


# --- jobs ------------------------------------------------------------------------------------------------


def _insert(type: str, bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    store = Store(bench, stack)
    value = workload.value_of(type)

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[str, Any], object]]
    ) -> Contender:
        insert = make(store.database)

        def outcome() -> object:
            store.clear(key)
            insert(workload.NAME, value)
            return store.stored(key)

        return Contender(
            key,
            what,
            role,
            Local(lambda turn: partial(insert, f"{workload.NAME}{turn}", value)),
            outcome=outcome,
            count=lambda: store.counts(partial(make(store.counting), workload.NAME, value)),
        )

    def by_hand(key: str, method: str, database: Any) -> Callable[[str, Any], object]:
        hand = ByHand(database, store.prefix(key), type)
        hand.make_indexes(workload.INTERVALS)
        insert: Callable[[str, Any], object] = getattr(hand, method)
        return insert

    yield contender(
        "kairos",
        "insert()",
        "kairos",
        lambda database: store.series(database, "kairos", type).insert,
    )
    yield contender(
        "update_one",
        "by hand, three update_one",
        "optimum",
        partial(by_hand, "update_one", "insert"),
    )
    yield contender(
        "bulk_write",
        "by hand, three bulk_write",
        "optimum",
        partial(by_hand, "bulk_write", "insert_bulk"),
    )
    ping = partial(store.database.command, "ping")
    yield Contender("ping", "ping", "reference", local(ping))
    yield from _original(
        bench, store, type, call="insert", name=workload.NAME, value=value, named=True
    )


def _original(
    bench: Bench, store: Store, type: str, units: int = 1, **request: Any
) -> Iterator[Contender]:
    """Yield the original as a contender in something that is written, where it can talk to the server.

    What it stores is not compared: it escapes floats.
    """
    original = bench.original
    if original is None:
        return
    # It knows no prefixes of collections.
    database = store.client[f"{bench.token}_original"]
    store.client.drop_database(database)
    url = f"{store.url.rpartition('/')[0]}/{database.name}"
    try:
        original.open("mongo", url, type, workload.INTERVALS)
        remote = Remote(original, key="mongo", **request)
        remote.prepare(0)
        remote.once()
    except OriginalFailed as error:
        bench.note(f"the original, {type} on MongoDB: {error}")
        return

    def clear() -> None:
        for name in workload.INTERVALS:
            database[name].delete_many({})

    remote.before = clear if remote.single else lambda: None
    yield Contender("original", "the original", "original", remote, units)


def _bulk(type: str, names: int, bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    store = Store(bench, stack)
    inserts = workload.bulk(type, names)

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[workload.Inserts], object]]
    ) -> Contender:
        bulk = make(store.database)

        def start(turn: int) -> Callable[[], object]:
            store.clear(key)
            return partial(bulk, inserts)

        def outcome() -> object:
            start(0)()
            return store.stored(key)

        return Contender(
            key,
            what,
            role,
            Local(start, single=True),
            workload.BULK,
            outcome=outcome,
            count=lambda: store.counts(partial(make(store.counting), inserts)),
        )

    def by_hand(database: Any) -> Callable[[workload.Inserts], object]:
        hand = ByHand(database, store.prefix("bulk_write"), type)
        hand.make_indexes(workload.INTERVALS)
        return hand.bulk

    yield contender(
        "kairos",
        "bulk_insert()",
        "kairos",
        lambda database: store.series(database, "kairos", type).bulk_insert,
    )
    yield contender("bulk_write", "by hand, merged first, three bulk_write", "optimum", by_hand)
    # The original writes each value by itself, so a few of them tell what each costs.
    few = workload.bulk(type, names, _FEW)
    entries = [(moment, list(each.items())) for moment, each in few.items()]
    yield from _original(
        bench, store, type, _FEW, call="bulk_insert", name="", entries=entries, single=True
    )


def _read(
    type: str,
    interval: str,
    options: Mapping[str, Any],
    reading: Callable[[ByHand], object],
    bench: Bench,
    stack: ExitStack,
) -> Iterator[Contender]:
    """Yield the contenders of a read, all of the same documents.

    :param options: of ``series()``.
    :param reading: the same, by hand.
    """
    store = Store(bench, stack)
    seconds = workload.COARSE * 60 if interval == "minute" else workload.HOURS * 3600
    arguments = {
        "interval": interval,
        "start": workload.START,
        "end": workload.START + seconds - 1,
        **options,
    }
    stored = store.series(store.database, "read", type, workload.READ_INTERVALS)
    stored.bulk_insert(workload.readable(type))

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[], object]]
    ) -> Contender:
        read = make(store.database)
        return Contender(
            key,
            what,
            role,
            local(read),
            outcome=lambda: plain(read()),
            count=lambda: store.counts(make(store.counting)),
        )

    def by_kairos(database: Any) -> Callable[[], object]:
        series = store.series(database, "read", type, workload.READ_INTERVALS)
        return partial(series.series, workload.NAME, **arguments)

    def by_hand(database: Any) -> Callable[[], object]:
        return partial(reading, ByHand(database, store.prefix("read"), type))

    yield contender("kairos", "series()", "kairos", by_kairos)
    yield contender("cursor", "by hand, one cursor", "optimum", by_hand)
    original = bench.original
    if original is None:
        return
    database = store.client[f"{bench.token}_original"]
    url = f"{store.url.rpartition('/')[0]}/{database.name}"
    store.client.drop_database(database)
    # Its data is made by kairos, which writes what it would have written; its index is its own.
    moved = kairos.Timeseries(database, type=type, intervals=workload.READ_INTERVALS)
    moved.bulk_insert(workload.readable(type))
    for name in workload.READ_INTERVALS:
        database[name].drop_index("name_1_interval_1_resolution_1")
    database["minute"].create_index([("interval", 1), ("name", 1)])
    database["hour"].create_index([("interval", 1), ("resolution", 1), ("name", 1)])
    try:
        original.open(
            "mongo", url, type, workload.READ_INTERVALS, None if type == "count" else "float"
        )
        remote = Remote(
            original, key="mongo", call="series", name=workload.NAME, arguments=arguments
        )
        remote.prepare(0)
        remote.once()
    except OriginalFailed as error:
        bench.note(f"the original, {type} on MongoDB: {error}")
        return

    def answer() -> object:
        remote.prepare(0)
        return remote.once()

    yield Contender("original", "the original", "original", remote, outcome=answer)


def _jobs() -> Iterator[Job]:
    for type in workload.TYPES:
        yield Job(
            f"mongo/insert/{type}",
            "µs per insert",
            partial(_insert, type),
            (at_most(1.15), times_faster(1)),
        )
    for type in ("count", "series"):
        for shape, names, factor in (("deep", 1, 8), ("wide", workload.WIDE_NAMES, 5)):
            yield Job(
                f"mongo/bulk-{shape}/{type}",
                "µs per value",
                partial(_bulk, type, names),
                (at_most(1.5), times_faster(factor)),
            )
    yield Job(
        "mongo/read-120/series",
        "ms per read",
        partial(_read, "series", "minute", {}, ByHand.read_coarse),
        (at_most(1.3),),
    )
    for what, options, reading in (
        ("whole", {}, ByHand.read_rows),
        ("condensed", {"condense": True}, ByHand.read_condensed),
        ("sum", {"transform": "sum"}, lambda hand: hand.read_rows(sum)),
        ("condensed-count", {"condense": True, "transform": "count"}, ByHand.read_lengths),
    ):
        yield Job(
            f"mongo/read-2880x10/{what}",
            "ms per read",
            partial(_read, "series", "hour", options, reading),
            (at_most(1.3), times_faster(3)),
        )
    yield Job(
        "mongo/read-2880/count",
        "ms per read",
        partial(_read, "count", "hour", {}, ByHand.read_rows),
        (at_most(1.3), times_faster(3)),
    )


JOBS = tuple(_jobs())
