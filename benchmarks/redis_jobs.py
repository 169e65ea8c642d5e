"""Redis: kairos, and what a careful engineer would write for the same keys on the same client."""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

import kairos
from kairos.types import SERIES, Transform

from . import instead, workload
from .harness import About, Contender, Job, Local, Role, at_most, local, plain, times_faster
from .original import Remote
from .relay import Relay, counted

if TYPE_CHECKING:
    from .bench import Bench

Command = tuple[bytes, ...]
#: Sends commands and returns a reply for each of them.
Exchange = Callable[[Sequence[Command]], list[Any]]

_WRITES: Final = {
    "series": b"RPUSH",
    "histogram": b"HINCRBY",
    "count": b"INCRBY",
    "gauge": b"SET",
    "set": b"SADD",
}

#: The eight commands of an insert as a script; what differs from one insert to the next is an argument.
_SCRIPT: Final = """
local function write(key) redis.call(ARGV[1], key, unpack(ARGV, 4)) end
write(KEYS[1])
redis.call('EXPIRE', KEYS[1], 7200)
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], 172800)
write(KEYS[3])
redis.call('EXPIRE', KEYS[3], 172800)
redis.call('SADD', KEYS[4], ARGV[3])
write(KEYS[5])
"""


# --- ways to send commands -----------------------------------------------------------------------------


def by_pipeline(client: Any) -> Exchange:
    """Send commands by a pipeline of redis-py."""

    def exchange(commands: Sequence[Command]) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute()
        return replies

    return exchange


def by_connection(client: Any) -> Exchange:
    """Pack commands oneself, and send them over a connection of redis-py's pool."""
    pool = client.connection_pool
    pack = import_module("hiredis").pack_command
    try:
        pool.release(pool.get_connection())
        take = pool.get_connection
    except TypeError:  # redis-py 5 wants the name of a command
        take = partial(pool.get_connection, "_")

    def exchange(commands: Sequence[Command]) -> list[Any]:
        connection = take()
        try:
            connection.send_packed_command([b"".join(map(pack, commands))])
            read = connection.read_response
            return [read(disable_decoding=True) for _ in commands]
        finally:
            pool.release(connection)

    return exchange


def by_socket(client: Any) -> Exchange:
    """Send commands over a bare socket: no pool, no reconnects, no TLS, no errors."""
    hiredis = import_module("hiredis")
    pack = hiredis.pack_command
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(options["path"])
    else:
        address = options.get("host", "127.0.0.1"), options.get("port", 6379)
        raw = socket.create_connection(address)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = hiredis.Reader()

    def exchange(commands: Sequence[Command]) -> list[Any]:
        raw.sendall(b"".join(map(pack, commands)))
        replies: list[Any] = []
        missing = len(commands)
        while missing:
            reader.feed(raw.recv(65536))
            while missing and (reply := reader.gets()) is not False:
                replies.append(reply)
                missing -= 1
        return replies

    return exchange


# --- by hand ---------------------------------------------------------------------------------------------


def encoded(value: Any) -> bytes:
    """Return a number as Redis keeps it."""
    return b"%d" % value if type(value) is int else repr(value).encode()


class ByHand:
    """Do the jobs for these three intervals, and nothing more.

    The keys are those of kairos, since data that lay elsewhere would be another job. Buckets and expiries
    are integer arithmetic with constants, and the name of the day is computed once a day.
    """

    def __init__(self, exchange: Exchange, prefix: str, type: str) -> None:
        self._exchange = exchange
        self._prefix = prefix
        self._type = type
        self._write = _WRITES[type]
        self._day_start = self._day_end = 0
        self._day = b""

    def _daily(self, timestamp: int) -> bytes:
        """Return the end of the key of a day."""
        if not self._day_start <= timestamp < self._day_end:
            self._day_start = timestamp - timestamp % 86400
            self._day_end = self._day_start + 86400
            self._day = time.strftime(":daily:%Y%m%d", time.gmtime(timestamp)).encode()
        return self._day

    def _arguments(self, value: Any) -> Command:
        return (encoded(value), b"1") if self._type == "histogram" else (encoded(value),)

    def insert(self, name: str, value: Any) -> None:
        """Write a value, by eight commands."""
        now = int(time.time())
        start = (self._prefix + name).encode()
        minute, hour = b"%d" % (now // 60), b"%d" % (now // 3600)
        minutes = b"%b:minute:%b" % (start, minute)
        hours = b"%b:hour:%b" % (start, hour)
        hours_minute = b"%b:%b" % (hours, minute)
        days = start + self._daily(now)
        write, arguments = self._write, self._arguments(value)
        self._exchange(
            [
                (write, minutes, *arguments),
                (b"EXPIRE", minutes, b"7200"),
                (b"SADD", hours, minute),
                (b"EXPIRE", hours, b"172800"),
                (write, hours_minute, *arguments),
                (b"EXPIRE", hours_minute, b"172800"),
                (b"SADD", days, hour),
                (write, b"%b:%b" % (days, hour), *arguments),
            ]
        )

    def call(self, name: str, value: Any) -> Command:
        """Return the keys and arguments of a script that writes a value."""
        now = int(time.time())
        start = (self._prefix + name).encode()
        minute, hour = b"%d" % (now // 60), b"%d" % (now // 3600)
        hours = b"%b:hour:%b" % (start, hour)
        days = start + self._daily(now)
        return (
            b"%b:minute:%b" % (start, minute),
            hours,
            b"%b:%b" % (hours, minute),
            days,
            b"%b:%b" % (days, hour),
            self._write,
            minute,
            hour,
            *self._arguments(value),
        )

    def bulk(self, inserts: workload.Inserts) -> None:
        """Write many counts or series, merged into the fewest commands."""
        minutes: dict[tuple[str, int], Any] = {}
        counting = self._type == "count"
        for timestamp, names in inserts.items():
            minute = int(timestamp) // 60
            for name, values in names.items():
                place = name, minute
                if counting:
                    minutes[place] = minutes.get(place, 0) + sum(values)
                elif place in minutes:
                    minutes[place] += map(encoded, values)
                else:
                    minutes[place] = [*map(encoded, values)]
        self._exchange(list(self._merged(minutes, int(time.time()))))

    def _merged(self, minutes: Mapping[tuple[str, int], Any], now: int) -> Iterator[Command]:
        """Yield the commands of a bulk insert, given what belongs to each minute of each name."""
        write = self._write
        this_minute, this_hour = now // 60 * 60, now // 3600 * 3600
        hours: dict[tuple[str, int], Any] = {}
        its_minutes: dict[tuple[str, int], list[bytes]] = {}
        for (name, minute), delta in minutes.items():
            hour = minute // 60
            place = name, hour
            start = (self._prefix + name).encode()
            arguments = (b"%d" % delta,) if write == b"INCRBY" else delta
            key = b"%b:minute:%d" % (start, minute)
            yield (write, key, *arguments)
            yield (b"EXPIRE", key, b"%d" % (7200 - this_minute + minute * 60))
            key = b"%b:hour:%d:%d" % (start, hour, minute)
            yield (write, key, *arguments)
            yield (b"EXPIRE", key, b"%d" % (172800 - this_hour + hour * 3600))
            its_minutes.setdefault(place, []).append(b"%d" % minute)
            # A new list: what was yielded must not grow.
            hours[place] = hours[place] + delta if place in hours else delta
        its_hours: dict[bytes, list[bytes]] = {}
        for (name, hour), delta in hours.items():
            start = (self._prefix + name).encode()
            key = b"%b:hour:%d" % (start, hour)
            yield (b"SADD", key, *its_minutes[name, hour])
            yield (b"EXPIRE", key, b"%d" % (172800 - this_hour + hour * 3600))
            key = start + self._daily(hour * 3600)
            arguments = (b"%d" % delta,) if write == b"INCRBY" else delta
            yield (write, b"%b:%d" % (key, hour), *arguments)
            its_hours.setdefault(key, []).append(b"%d" % hour)
        for key, members in its_hours.items():
            yield (b"SADD", key, *members)

    def _hours(self) -> list[tuple[int, bytes]]:
        first = workload.START // 3600
        start = (self._prefix + workload.NAME).encode()
        return [
            (hour, b"%b:hour:%d" % (start, hour)) for hour in range(first, first + workload.HOURS)
        ]

    def read_rows(self, transform: Callable[[list[float]], Any] | None) -> OrderedDict[int, Any]:
        """Read two days of series, minute by minute, in two round trips."""
        hours = self._hours()
        sets = self._exchange([(b"SMEMBERS", key) for _, key in hours])
        places = [
            (hour, minute, key)
            for (hour, key), members in zip(hours, sets, strict=True)
            for minute in sorted(map(int, members))
        ]
        lists = self._exchange(
            [(b"LRANGE", b"%b:%d" % (key, minute), b"0", b"-1") for _, minute, key in places]
        )
        rows: OrderedDict[int, Any] = OrderedDict((hour * 3600, OrderedDict()) for hour, _ in hours)
        for (hour, minute, _), values in zip(places, lists, strict=True):
            row = list(map(float, values))
            rows[hour * 3600][minute * 60] = row if transform is None else transform(row)
        return rows

    def read_condensed(self) -> OrderedDict[int, Any]:
        """Read two days of series, the minutes of an hour as one list."""
        return OrderedDict(
            (hour, [value for row in rows.values() for value in row])
            for hour, rows in self.read_rows(None).items()
        )

    def read_lengths(self, transform: Callable[[int], Any] | None) -> OrderedDict[int, Any]:
        """Read how many values each minute of two days has, or what follows from it."""
        hours = self._hours()
        sets = self._exchange([(b"SMEMBERS", key) for _, key in hours])
        places = [
            (hour, minute, key)
            for (hour, key), members in zip(hours, sets, strict=True)
            for minute in sorted(map(int, members))
        ]
        lengths = self._exchange([(b"LLEN", b"%b:%d" % (key, minute)) for _, minute, key in places])
        rows: OrderedDict[int, Any] = OrderedDict((hour * 3600, OrderedDict()) for hour, _ in hours)
        for (hour, minute, _), length in zip(places, lengths, strict=True):
            rows[hour * 3600][minute * 60] = length if transform is None else transform(length)
        return rows

    def read_counts(self) -> OrderedDict[int, Any]:
        """Read the count of each minute of two days, in one round trip."""
        hours = self._hours()
        replies = self._exchange(
            [
                (b"SORT", key, b"BY", b"nosort", b"GET", b"#", b"GET", key + b":*")
                for _, key in hours
            ]
        )
        rows: OrderedDict[int, Any] = OrderedDict()
        for (hour, _), reply in zip(hours, replies, strict=True):
            found = sorted(zip(map(int, reply[::2]), map(int, reply[1::2]), strict=True))
            rows[hour * 3600] = OrderedDict((minute * 60, count) for minute, count in found)
        return rows

    def _coarse(self) -> list[tuple[int, bytes]]:
        first = workload.START // 60
        start = (self._prefix + workload.NAME).encode()
        return [
            (minute * 60, b"%b:minute:%d" % (start, minute))
            for minute in range(first, first + workload.COARSE)
        ]

    def read_coarse(self) -> OrderedDict[int, Any]:
        """Read two hours of a coarse series."""
        keys = self._coarse()
        lists = self._exchange([(b"LRANGE", key, b"0", b"-1") for _, key in keys])
        return OrderedDict(
            (moment, list(map(float, values)))
            for (moment, _), values in zip(keys, lists, strict=True)
        )

    def read_coarse_counts(self) -> OrderedDict[int, Any]:
        """Read two hours of a coarse count, in one command."""
        keys = self._coarse()
        (counts,) = self._exchange([(b"MGET", *(key for _, key in keys))])
        return OrderedDict(
            (moment, int(count or 0)) for (moment, _), count in zip(keys, counts, strict=True)
        )


# --- what all jobs need ----------------------------------------------------------------------------------

#: What sends the commands of code written by hand: (key, description, role, how).
_EXCHANGES: Final[Sequence[tuple[str, str, Role, Callable[[Any], Exchange]]]] = (
    ("pipeline", "by hand, redis-py pipeline", "optimum", by_pipeline),
    ("packed", "by hand, packed for redis-py's connection", "optimum", by_connection),
    ("socket", "by hand, hiredis on a bare socket", "reference", by_socket),
)


_READS: Final[Mapping[bytes, Command]] = {
    b"string": (b"GET",),
    b"list": (b"LRANGE", b"0", b"-1"),
    b"hash": (b"HGETALL",),
    b"set": (b"SMEMBERS",),
}


class Store:
    """Hold a client, and where each contender of a job writes.

    :param url: of the server, the one that the command line names by default.
    :param counted_url: by which a relay reaches it, where that is another one.
    """

    def __init__(
        self, bench: Bench, stack: ExitStack, url: str | None = None, counted_url: str | None = None
    ) -> None:
        import redis

        self.bench = bench
        self.url = url or bench.redis
        self._counted_url = counted_url or self.url
        self._connect = redis.Redis.from_url
        self._stack = stack
        self.client = self._open(self.url)
        stack.callback(self.clear, "")

    def _open(self, url: str) -> Any:
        client = self._connect(url)
        self._stack.callback(client.close)
        return client

    def prefix(self, key: str) -> str:
        """Return what begins all keys of a contender."""
        return f"{self.bench.token}:{key.replace(' ', '-')}:"

    def series(self, client: Any, key: str, type: str, intervals: Any = workload.INTERVALS) -> Any:
        """Return a series of kairos for a contender."""
        read = None if type == "count" else float
        return kairos.Timeseries(
            client, type=type, intervals=intervals, prefix=self.prefix(key), read_func=read
        )

    def _keys(self, key: str) -> list[bytes]:
        pattern = f"{self.prefix(key)}*" if key else f"{self.bench.token}:*"
        return list(self.client.scan_iter(pattern, count=10_000))

    def clear(self, key: str) -> None:
        """Remove what a contender has written, or all of them."""
        keys = self._keys(key)
        for at in range(0, len(keys), 1000):
            self.client.unlink(*keys[at : at + 1000])

    def stored(self, key: str) -> dict[bytes, Any]:
        """Return what a contender has stored: type, value and expiry of each key."""
        keys = sorted(self._keys(key))
        now = time.time()
        exchange = by_pipeline(self.client)
        kinds = exchange([(b"TYPE", name) for name in keys])
        left = exchange([(b"TTL", name) for name in keys])
        values = exchange(
            [
                (_READS[kind][0], name, *_READS[kind][1:])
                for kind, name in zip(kinds, keys, strict=True)
            ]
        )
        start = len(self.prefix(key))
        return {
            name[start:]: (kind, value, None if seconds < 0 else About(now + seconds))
            for name, kind, value, seconds in zip(keys, kinds, values, left, strict=True)
        }

    def counts(self, make: Callable[[Any], Callable[[], object]]) -> Mapping[str, float]:
        """Return the round trips, the commands and what the server executed of an operation.

        :param make: returns the operation, given a client.
        """
        relay = Relay(self._counted_url, 6379)
        self._stack.callback(relay.close)
        return self._counts(relay, make(self._open(relay.url)))

    def counts_of_original(self, open: Callable[[str], Remote]) -> Mapping[str, float]:
        """Return the same for the original; ``open`` is given the URL that it is to use."""
        relay = Relay(self._counted_url, 6379)
        self._stack.callback(relay.close)
        remote = open(relay.url)
        remote.prepare(0)
        return self._counts(relay, remote.once)

    def _counts(self, relay: Relay, operation: Callable[[], object]) -> Mapping[str, float]:
        hiredis = import_module("hiredis")
        trips, sent = counted(relay, operation)
        reader = hiredis.Reader()
        reader.feed(sent)
        commands = 0
        while reader.gets() is not False:
            commands += 1
        executed = []
        for _ in range(5):
            before = self._executed()
            operation()
            # Others may use the server; the smallest number is this operation's.
            executed.append(self._executed() - before - 1)
        return {"round trips": trips, "commands": commands, "executed": min(executed)}

    def _executed(self) -> int:
        return sum(each["calls"] for each in self.client.info("commandstats").values())


# --- jobs ------------------------------------------------------------------------------------------------


def _insert(
    type: str, way: Literal["tcp", "unix", "apart"], bench: Bench, stack: ExitStack
) -> Iterator[Contender]:
    """Yield the contenders of an insert.

    :param way: to a server on the same core, over TCP or over a socket in the file system, or to a server
        that has a core of its own.
    """
    if way == "apart":
        store = Store(bench, stack)
    else:
        tcp, unix = bench.redis_beside(stack)
        store = Store(bench, stack, tcp if way == "tcp" else unix, tcp)
    value = workload.value_of(type)
    original = bench.original

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[str, Any], object]]
    ) -> Contender:
        insert = make(store.client)

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
            count=lambda: store.counts(lambda client: partial(make(client), workload.NAME, value)),
        )

    def by_hand(key: str, how: Callable[[Any], Exchange], client: Any) -> ByHand:
        return ByHand(how(client), store.prefix(key), type)

    def commands(
        key: str, how: Callable[[Any], Exchange], client: Any
    ) -> Callable[[str, Any], object]:
        return by_hand(key, how, client).insert

    def evalsha(client: Any) -> Callable[[str, Any], object]:
        digest = client.script_load(_SCRIPT)
        call = by_hand("evalsha", by_pipeline, client).call
        return lambda name, value: client.evalsha(digest, 5, *call(name, value))

    def packed_evalsha(client: Any) -> Callable[[str, Any], object]:
        start = b"EVALSHA", client.script_load(_SCRIPT).encode(), b"5"
        exchange = by_connection(client)
        call = by_hand("packed evalsha", by_connection, client).call
        return lambda name, value: exchange([start + call(name, value)])

    yield contender(
        "kairos", "insert()", "kairos", lambda client: store.series(client, "kairos", type).insert
    )
    for key, what, role, how in _EXCHANGES:
        yield contender(key, what, role, partial(commands, key, how))
    what = "by hand, a script of its own, EVALSHA by redis-py"
    yield contender("evalsha", what, "optimum", evalsha)
    what = "by hand, a script of its own, packed for redis-py's connection"
    yield contender("packed evalsha", what, "optimum", packed_evalsha)
    ping = by_connection(store.client)
    yield Contender(
        "ping",
        "PING, packed for redis-py's connection",
        "reference",
        local(lambda: ping([(b"PING",)])),
    )
    yield from instead.files(bench)
    if original is None:
        return

    def open(url: str) -> Remote:
        original.open("redis", url, type, workload.INTERVALS, "float", store.prefix("original"))
        return Remote(original, True, key="redis", call="insert", name=workload.NAME, value=value)

    yield _original(store, open, lambda: None)


def _original(
    store: Store, open: Callable[[str], Remote], before: Callable[[], None], units: int = 1
) -> Contender:
    """Return the original as a contender in something that is written."""

    def outcome() -> object:
        store.clear("original")
        remote.prepare(0)
        remote.once()
        # Names of turns have the number of the turn at their end.
        start = f"{workload.NAME}0".encode()
        return {
            name.replace(start + b":", workload.NAME.encode() + b":"): value
            for name, value in store.stored("original").items()
        }

    counts = store.counts_of_original(open)
    remote = open(store.url)
    remote.before = before
    return Contender(
        "original", "the original", "original", remote, units, outcome=outcome, count=lambda: counts
    )


def _bulk(type: str, names: int, bench: Bench, stack: ExitStack) -> Iterator[Contender]:
    store = Store(bench, stack)
    inserts = workload.bulk(type, names)
    original = bench.original

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[workload.Inserts], object]]
    ) -> Contender:
        bulk = make(store.client)

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
            count=lambda: store.counts(lambda client: partial(make(client), inserts)),
        )

    def by_hand(
        key: str, how: Callable[[Any], Exchange], client: Any
    ) -> Callable[[workload.Inserts], object]:
        return ByHand(how(client), store.prefix(key), type).bulk

    yield contender(
        "kairos",
        "bulk_insert()",
        "kairos",
        lambda client: store.series(client, "kairos", type).bulk_insert,
    )
    for key, what, role, how in _EXCHANGES:
        yield contender(
            key,
            f"{what}, merged first",
            role,
            partial(by_hand, key, how),
        )
    if names == 1 and type == "count":
        yield from instead.whole_files(bench)
    if original is None:
        return

    def open(url: str) -> Remote:
        original.open("redis", url, type, workload.INTERVALS, "float", store.prefix("original"))
        entries = [(moment, list(names.items())) for moment, names in inserts.items()]
        return Remote(
            original, key="redis", call="bulk_insert", name="", entries=entries, single=True
        )

    yield _original(store, open, partial(store.clear, "original"), workload.BULK)


def _read(
    type: str,
    interval: str,
    options: Mapping[str, Any],
    reading: Callable[[ByHand], object],
    bench: Bench,
    stack: ExitStack,
) -> Iterator[Contender]:
    """Yield the contenders of a read, all of the same keys.

    :param options: of ``series()``.
    :param reading: the same, by hand.
    """
    store = Store(bench, stack)
    original = bench.original
    seconds = workload.COARSE * 60 if interval == "minute" else workload.HOURS * 3600
    arguments = {
        "interval": interval,
        "start": workload.START,
        "end": workload.START + seconds - 1,
        **options,
    }
    stored = store.series(store.client, "read", type, workload.READ_INTERVALS)
    stored.bulk_insert(workload.readable(type))

    def contender(
        key: str, what: str, role: Role, make: Callable[[Any], Callable[[], object]]
    ) -> Contender:
        read = make(store.client)
        return Contender(
            key,
            what,
            role,
            local(read),
            outcome=lambda: plain(read()),
            count=lambda: store.counts(make),
        )

    def by_kairos(client: Any) -> Callable[[], object]:
        series = store.series(client, "read", type, workload.READ_INTERVALS)
        return partial(series.series, workload.NAME, **arguments)

    def by_hand(how: Callable[[Any], Exchange], client: Any) -> Callable[[], object]:
        return partial(reading, ByHand(how(client), store.prefix("read"), type))

    yield contender("kairos", "series()", "kairos", by_kairos)
    for key, what, role, how in _EXCHANGES:
        yield contender(
            key,
            what,
            role,
            partial(by_hand, how),
        )
    if original is None:
        return

    def open(url: str) -> Remote:
        read = "int" if type == "count" else "float"
        original.open("redis", url, type, workload.READ_INTERVALS, read, store.prefix("read"))
        return Remote(original, key="redis", call="series", name=workload.NAME, arguments=arguments)

    counts = store.counts_of_original(open)
    remote = open(store.url)

    def answer() -> object:
        remote.prepare(0)
        return remote.once()

    yield Contender(
        "original", "the original", "original", remote, outcome=answer, count=lambda: counts
    )


def _read_transformed(transform: Transform, hand: ByHand) -> object:
    return hand.read_rows(lambda row: transform(row, 60))


def _jobs() -> Iterator[Job]:
    targets = [at_most(1.15), times_faster(1.7), at_most(1.0, "whisper")]
    for type in workload.TYPES:
        yield Job(f"redis/insert/{type}", "µs per insert", partial(_insert, type, "tcp"), targets)
    for type in workload.TYPES:
        yield Job(f"redis/insert-unix/{type}", "µs per insert", partial(_insert, type, "unix"), targets)
    yield Job("redis/insert-apart/count", "µs per insert", partial(_insert, "count", "apart"))
    for type in ("count", "series"):
        for shape, names, factor in (("deep", 1, 20), ("wide", workload.WIDE_NAMES, 5)):
            yield Job(
                f"redis/bulk-{shape}/{type}",
                "µs per value",
                partial(_bulk, type, names),
                (at_most(1.5), times_faster(factor)),
            )
    yield Job(
        "redis/read-120/series",
        "ms per read",
        partial(_read, "series", "minute", {}, ByHand.read_coarse),
        (at_most(1.2),),
    )
    yield Job(
        "redis/read-120/count",
        "ms per read",
        partial(_read, "count", "minute", {}, ByHand.read_coarse_counts),
        (at_most(1.3),),
    )
    yield Job(
        "redis/read-2880x10/whole",
        "ms per read",
        partial(_read, "series", "hour", {}, lambda hand: hand.read_rows(None)),
        (at_most(1.2), times_faster(2.5)),
    )
    yield Job(
        "redis/read-2880x10/condensed",
        "ms per read",
        partial(_read, "series", "hour", {"condense": True}, ByHand.read_condensed),
        (at_most(1.2), times_faster(2.5)),
    )
    yield Job(
        "redis/read-2880x10/count",
        "ms per read",
        partial(
            _read, "series", "hour", {"transform": "count"}, lambda hand: hand.read_lengths(None)
        ),
        (at_most(1.3), times_faster(8)),
    )
    yield Job(
        "redis/read-2880x10/rate",
        "ms per read",
        partial(
            _read,
            "series",
            "hour",
            {"transform": "rate"},
            lambda hand: hand.read_lengths(lambda length: length / 60),
        ),
        (at_most(1.3), times_faster(8)),
    )
    for transform in ("mean", "min", "max", "sum"):
        yield Job(
            f"redis/read-2880x10/{transform}",
            "ms per read",
            partial(
                _read,
                "series",
                "hour",
                {"transform": transform},
                partial(_read_transformed, SERIES.transforms[transform]),
            ),
            (at_most(1.3), times_faster(2.5)),
        )
    yield Job(
        "redis/read-2880/count",
        "ms per read",
        partial(_read, "count", "hour", {}, ByHand.read_counts),
        (at_most(1.3), times_faster(5)),
    )


JOBS = tuple(_jobs())
