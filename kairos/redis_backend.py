"""Buckets in Redis: keys ``{prefix}{name}:{interval}:{bucket}``, and how they are read and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b, sha1
from itertools import chain, product
from typing import Any, ClassVar, Final, cast

from .exceptions import DamagedData, InvalidType, InvalidValue, UnsupportedType
from .intervals import Interval, Placement, Target, check_name
from .pipeline import Event, Group, ReadPlan, Rows, Write, lifetimes, writes_of
from .redis_wire import (
    Command,
    Server,
    check_client,
    connect,
    is_cluster,
    pack,
    slot_of,
    tag_of,
    wire_of,
)
from .timeseries import Backend, Count, Gauge, Histogram, Series, Set

#: Check every key, claim the event if there is one, then apply every write with its expiry: all or nothing,
#: since no command can fail once all have been checked. KEYS are those of the data, the sets that list their
#: buckets, and the claim if there is one. ARGV is how many keys hold data, the seconds of the claim or '',
#: and for each key: its seconds or '', the number of arguments (0 for those of the key before), arguments.
#: The answer is 1 when applied, 0 when the event was claimed before, -i when the key i holds something else.
_WRITE: Final = """
local call, try = redis.call, redis.pcall
local data, remember, keys = tonumber(ARGV[1]), ARGV[2], #KEYS
if remember ~= '' then keys = keys - 1 end
%(check)s
for i = data + 1, keys do
  if type(try('SCARD', KEYS[i])) == 'table' then return -i end
end
if remember ~= '' and not call('SET', KEYS[keys + 1], '1', 'NX', 'EX', remember) then return 0 end
local at, from, to = 3, 0, 0
for i = 1, keys do
  local key, seconds, count = KEYS[i], ARGV[at], ARGV[at + 1]
  at = at + 2
  if count ~= '0' then
    from, to = at, at + count - 1
    at = to + 1
  end
  local command = 'SADD'
  if i <= data then command = %(command)s end
  if from == to then
    call(command, key, ARGV[from])
  elseif command == 'HINCRBY' then
    for j = from, to, 2 do call(command, key, ARGV[j], ARGV[j + 1]) end
  else
    -- unpack takes no more than some 8,000 values at once.
    for j = from, to, 4000 do call(command, key, unpack(ARGV, j, math.min(j + 3999, to))) end
  end
  if seconds ~= '' then call('EXPIRE', key, seconds) end
end
return 1
"""

#: What a type checks of its keys: that a command which reads this type only does not fail.
_PROBE: Final = """
for i = 1, data do
  if type(try('%s', KEYS[i])) == 'table' then return -i end
end
"""

#: A count must be a number that stays below 64 bits; it is a float from the first fraction on.
_COUNT: Final = """
local limit, commands, find = 9223372036854774784, {}, string.find
local at, delta, integer = 3, '', false
for i = 1, data do
  if ARGV[at + 1] ~= '0' then
    delta = ARGV[at + 2]
    integer = find(delta, '^-?%d+$')
    at = at + 1
  end
  at = at + 2
  local found = try('GET', KEYS[i])
  local whole = integer
  if found then
    if type(found) == 'table' then return -i end
    if not find(found, '^-?%d+$') then
      if not find(found, '^-?%d+%.?%d*[eE]?[+-]?%d*$') then return -i end
      whole = false
    elseif whole and math.abs(found + delta) >= limit then
      return -i
    end
  end
  commands[i] = whole and 'INCRBY' or 'INCRBYFLOAT'
end
"""

#: So must be the number of each value that is counted in a hash.
_HISTOGRAM: Final = """
local limit = 9223372036854774784
local at, from, to = 3, 0, 0
for i = 1, data do
  local count = ARGV[at + 1]
  at = at + 2
  if count ~= '0' then
    from, to = at, at + count - 1
    at = to + 1
  end
  for j = from, to, 2 do
    local found = try('HGET', KEYS[i], ARGV[j])
    if found and (type(found) == 'table' or not string.find(found, '^-?%d+$')
        or math.abs(found + ARGV[j + 1]) >= limit) then
      return -i
    end
  end
end
"""

#: Remember the second that an event was delivered for first, and answer with it. Safe to repeat.
_PIN: Final = """
local pinned = redis.call('GET', KEYS[1])
if pinned then return pinned end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
"""


#: Count the values at each key by the command ARGV[1]; what fails answers with its error.
_COUNTS: Final = b"""
local counts = {}
for i, key in ipairs(KEYS) do counts[i] = redis.pcall(ARGV[1], key) end
return counts
"""


class _Script:
    """Hold a Lua script with the two ways to call it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode()).hexdigest()
        self.cached = (b"EVALSHA", self.digest.encode())
        self.whole = (b"EVAL", text.encode())


_PIN_SCRIPT: Final = _Script(_PIN)

#: One MGET, UNLINK or step of a SCAN handles about so many keys ...
_KEYS: Final = 1000
#: ... and a script that counts at most so many.
_COUNTED: Final = 500
#: Calls with at most so many values are prepared, and at most so many are kept until a bucket ends.
_FEW: Final = 4
_PREPARED: Final = 256

_GLOB: Final = re.compile(r"([*?\[\]\\])")

#: Keys that remember events lie below this, after the prefix.
_CLAIMS: Final = "kairos:"


class RedisTarget(Target):
    """Add the ends of the keys of one bucket: they are the same for every name."""

    __slots__ = ("i_end", "member", "r_end")

    def __init__(
        self, interval: Interval, i_bucket: int, r_bucket: int | None, i_start: int
    ) -> None:
        super().__init__(interval, i_bucket, r_bucket, i_start)
        self.i_end = f":{interval.interval}:{i_bucket}".encode()
        self.member = b"" if r_bucket is None else b"%d" % r_bucket
        self.r_end = self.i_end + b":" + self.member


#: The keys and the arguments of one call of a script.
_Call = tuple[list[bytes], list[bytes]]


def _command(script: Command, call: _Call) -> Command:
    keys, arguments = call
    return (*script, b"%d" % len(keys), *keys, *arguments)


class RedisBackend(Backend):
    """Keep series in Redis or Valkey, in a Redis Cluster, or behind Sentinel.

    Options: ``prefix`` of all keys; ``encoding`` of values (``'utf-8'``; with None values are bytes).
    ``pipeline=`` hands an insert the caller's pipeline, which the caller executes.

    An insert, and every group of 500 buckets of a bulk insert, is one Lua script: applied whole or not at
    all, in one round trip, each key with its expiry. On a cluster that holds key by key. No write is ever
    sent twice: when an answer is lost, :class:`kairos.UnknownOutcome` says so.

    Reads take one round trip, with resolutions at most two. The server answers ``count`` and ``rate`` of
    series (LLEN) and of single rows of sets (SCARD).
    """

    _options: ClassVar[Mapping[str, Any]] = {"encoding": "utf-8"}
    _handle = "pipeline"
    _target_class = RedisTarget

    # What a cell says of its type:
    #: the command that writes a delta, and the script that does so for many keys,
    _write_command: ClassVar[bytes]
    _write_script: ClassVar[_Script]
    #: the type of Redis that it is kept as,
    _redis_type: ClassVar[bytes]
    #: the command that reads a row, with what follows the key,
    _read_command: ClassVar[Command]
    #: the command that counts the values of a row, and whether such counts of several rows add up,
    _count_command: ClassVar[bytes | None] = None
    _count_adds: ClassVar[bool] = False
    #: whether rows are strings, of which one command reads many.
    _strings: ClassVar[bool] = False

    @classmethod
    def _connect(cls, url: str, config: dict[str, Any]) -> Any:
        return connect(url, config)

    @classmethod
    def _accept(cls, client: Any) -> Any:
        return check_client(client)

    def _setup(self, **options: Any) -> None:
        encoding: str | None = options["encoding"]
        self._encoding = encoding
        if encoding is not None:
            try:
                "".encode(encoding)
            except (LookupError, TypeError) as error:
                raise InvalidValue(f"encoding {encoding!r} is unknown") from error
        self._cluster = is_cluster(self._client)
        self._wire = wire_of(self._client)
        self._server = None if self._cluster else cast(Server, self._wire)
        #: Whether the server runs scripts (fakeredis may not), None until it was asked.
        self._scripting: bool | None = None
        self._queued_script: Any = None
        #: Whether SORT may follow the members of a set to their keys; no cluster lets it.
        self._sorting = not self._cluster
        #: Whether a script may count at many keys.
        self._counting = not self._cluster
        self._ambiguous = self._may_collide()

    # --- keys --------------------------------------------------------------------------------------------

    def _key(self, name: str, interval: Interval, i_bucket: int, r_bucket: int | None) -> bytes:
        key = f"{self._prefix}{name}:{interval.interval}:{i_bucket}"
        return (key if r_bucket is None else f"{key}:{r_bucket}").encode()

    def _where(self, name: str, interval: Interval, i_bucket: int, r_bucket: int | None) -> str:
        return f"Redis key {self._key(name, interval, i_bucket, r_bucket).decode()!r}"

    def _pattern(self, name: str, interval: str) -> str:
        return rf"(?P<name>{name}):(?:{interval}):(?P<i>-?\d+)(?::(?P<r>-?\d+))?"

    def _parse(self, key: str) -> Iterator[tuple[str, str, int]]:
        """Yield (name, interval, bucket) for each way to read a key as one of this series."""
        if not key.startswith(self._prefix):
            return
        rest = key[len(self._prefix) :]
        if not self._intervals:
            # Made without intervals: take any interval, as long as its name is not a number.
            found = re.fullmatch(self._pattern(".+?", r"[^:]*[^:\d][^:]*"), rest, re.DOTALL)
            if found:
                yield found["name"], "", int(found["i"])
            return
        for interval, config in self._intervals.items():
            found = re.fullmatch(self._pattern(".+", re.escape(interval)), rest, re.DOTALL)
            if found and not (config.coarse and found["r"]):
                yield found["name"], interval, int(found["i"])

    def _may_collide(self) -> bool:
        """Tell whether, with these names of intervals, two names could meet in one key."""
        names = list(self._intervals)
        numbered = any(re.search(r"(^|:)-?\d+$", name) for name in names)
        resolved = any(not interval.coarse for interval in self._intervals.values())
        return (numbered and resolved) or any(
            one.endswith(":" + other) for one in names for other in names
        )

    def _check_unambiguous(self, name: str, keys: Iterable[bytes]) -> None:
        for key in keys:
            readings = {(found, interval) for found, interval, _ in self._parse(key.decode())}
            if len(readings) > 1:
                raise InvalidValue(
                    f"name {name!r} would share the key {key.decode()!r} with another name, since one "
                    f"interval's name ends like another's: {sorted(readings)}"
                )

    # --- writing -----------------------------------------------------------------------------------------

    def _encode(self, value: Any) -> bytes:
        kind = type(value)
        if kind is str:
            try:
                return value.encode(self._encoding or "utf-8")  # type: ignore[no-any-return]
            except UnicodeEncodeError as error:
                raise InvalidValue(f"value {value!r} cannot be stored: {error}") from error
        if kind is int:
            return b"%d" % value
        if kind is float:
            return repr(value).encode()
        if kind is bytes:
            return value  # type: ignore[no-any-return]
        return self._encode_other(value)

    def _encode_other(self, value: Any) -> bytes:
        """Encode what is none of the plain types, as the drivers do."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        # A subclass, such as an IntEnum or a float of numpy's, is stored as what it is one of.
        if isinstance(value, str):
            return self._encode(str.__str__(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return self._encode(int(value))
        if isinstance(value, float):
            return self._encode(float(value))
        raise InvalidType(
            f"value {value!r} of type {type(value).__name__} cannot be stored: Redis takes text, bytes, "
            "int and float; convert it with a write_func"
        )

    def _arguments(self, delta: Any) -> Sequence[bytes]:
        """Return the arguments of the write command for a delta."""
        raise NotImplementedError

    def _calls(
        self,
        writes: Sequence[Write],
        event: Event | None,
        encode: Callable[[Any], Sequence[bytes]] | None = None,
    ) -> _Call:
        """Return the keys and the arguments with which the write script applies the writes.

        :param encode: returns the arguments of the write command for a delta, by default as the type does.
        """
        encode = encode or self._arguments
        keys: list[bytes] = []
        arguments: list[bytes] = [b"", b"" if event is None else b"%d" % event.remember]
        lists: dict[bytes, tuple[bytes, list[bytes]]] = {}
        last: Any = None
        named, start = "", b""
        target: Any  # a RedisTarget, as _target_class says
        for name, target, delta, ttl, _ in writes:
            if name is not named:
                named, start = name, (self._prefix + name).encode()
            seconds = b"" if ttl is None else b"%d" % ttl
            if target.r_bucket is None:
                keys.append(start + target.i_end)
            else:
                keys.append(start + target.r_end)
                key = start + target.i_end
                found = lists.get(key)
                if found is None:
                    lists[key] = seconds, [target.member]
                else:
                    found[1].append(target.member)
            if self._ambiguous:
                self._check_unambiguous(name, (start + target.i_end, start + target.r_end))
            if delta is last:
                arguments += (seconds, b"0")
            else:
                its = encode(delta)
                arguments += (seconds, b"%d" % len(its), *its)
                last = delta
        arguments[0] = b"%d" % len(keys)
        for key, (seconds, members) in lists.items():
            keys.append(key)
            arguments += (seconds, b"%d" % len(members), *members)
        return keys, arguments

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        if handle is not None:
            self._write_pipeline(groups, handle)
        elif self._scripting is False:
            self._write_transactions(groups)
        elif self._cluster:
            self._write_cluster(groups)
        else:
            calls = [self._claimed_call(group) for group in groups]
            if self._run(self._write_script, calls, repeatable=False) is None:
                self._write_transactions(groups)

    def _write_delta(
        self, name: str, delta: Any, timestamp: int, placement: Placement, current: Placement
    ) -> None:
        """Write one delta by a call of the script that was packed before, but for the name and the values.

        All else is the same for a while: until one of the buckets ends.
        """
        server = self._server
        # A count of 0 does not touch all keys.
        if server is None or not (self._scripting and delta) or self._ambiguous:
            super()._write_delta(name, delta, timestamp, placement, current)
            return
        values = self._arguments(delta)
        if len(values) > _FEW:
            super()._write_delta(name, delta, timestamp, placement, current)
            return
        encoded = name.encode()
        prepared = lifetimes(placement, current)[2]
        size = len(encoded), len(values)
        template = prepared.get(size)
        if template is None:
            if len(prepared) >= _PREPARED:
                prepared.clear()
            template = prepared[size] = self._prepare(*size, placement, current)
        names, packed = template
        if len(values) == 1:
            (value,) = values
            packed %= (encoded,) * names + (len(value), value)
        else:
            each = [part for value in values for part in (len(value), value)]
            packed %= (encoded,) * names + (*each,)
        replies = server.exchange(packed, 1, repeatable=False)
        if replies[0] != 1:
            group = Group(None, writes_of(name, delta, timestamp, placement, current))
            if self._settle(self._write_script, [self._claimed_call(group)], replies, False) is None:
                self._write_transactions([group])

    def _prepare(
        self, size: int, count: int, placement: Placement, current: Placement
    ) -> tuple[int, bytes]:
        """Return a packed call of the write script, with places for the names and the values.

        :param size: of the name, in bytes.
        :param count: of the values.
        :returns: how many places there are for the name, and what is to be formatted with that many names
            and the size and text of each value.
        """
        # No name of anything contains NUL.
        name, value = "\0" * size, b"\0\1\0"
        writes = writes_of(name, value, 0, placement, current)
        keys, arguments = self._calls(writes, None, lambda delta: [value] * count)
        packed = pack((*self._write_script.cached, b"%d" % len(keys), *keys, *arguments))
        place = name.encode()
        head, tail = packed.replace(b"%", b"%%").split(b"$3\r\n%b\r\n" % value * count)
        return head.count(place), head.replace(place, b"%b") + b"$%d\r\n%b\r\n" * count + tail

    def _claimed_call(self, group: Group) -> _Call:
        """Return the call that applies a group, with the claim of its event if it has one."""
        event, writes = group
        keys, arguments = self._calls(writes, event)
        if event is not None:
            keys.append(self._claim(event))
        return keys, arguments

    def _claim(self, event: Event, key: bytes | None = None) -> bytes:
        """Return the key that remembers an event, on a cluster beside a key that it touches.

        It does not end like a key of the data, so no housekeeping takes it for one.
        """
        claim = f"{self._prefix}{_CLAIMS}{event.key}"
        if key is None:
            return f"{claim}:id".encode()
        digest = blake2b(key, digest_size=8).hexdigest()
        return b"{%b}%b:%b:id" % (tag_of(slot_of(key)), claim.encode(), digest.encode())

    def _write_cluster(self, groups: Sequence[Group]) -> None:
        """Write key by key; an event is first pinned to the second of its first delivery.

        Keys of one insert lie on different nodes, so each is claimed together with its own write. Where a
        delivery breaks off, the next one finds the same keys by the pinned second, and adds what is missing.
        """
        events = [event for event, _ in groups if event is not None]
        pins: list[_Call] = [
            ([self._claim(event)], [b"%d" % event.timestamp, b"%d" % event.remember])
            for event in events
        ]
        seconds = map(int, self._run(_PIN_SCRIPT, pins, repeatable=True) or ())
        calls: list[_Call] = []
        for event, writes in groups:
            if event is not None:
                pinned = next(seconds)
                if pinned != event.timestamp:
                    writes = event.writes_at(pinned)
            for (key,), arguments in self._calls_by_key(writes, event):
                claim = [] if event is None else [self._claim(event, key)]
                calls.append(([key, *claim], arguments))
        self._run(self._write_script, calls, repeatable=False)

    def _calls_by_key(self, writes: Sequence[Write], event: Event | None) -> Iterator[_Call]:
        """Yield a call of the write script for each key by itself, data before the sets that list it."""
        keys, arguments = self._calls(writes, event)
        data, remember = int(arguments[0]), arguments[1]
        at, its = 2, arguments[:0]
        for index, key in enumerate(keys):
            seconds, count = arguments[at], int(arguments[at + 1])
            at += 2
            if count:
                its = arguments[at : at + count]
                at += count
            kind = b"1" if index < data else b"0"
            yield [key], [kind, remember, seconds, b"%d" % len(its), *its]

    def _run(
        self, script: _Script, calls: Sequence[_Call], repeatable: bool
    ) -> list[Any] | None:
        """Call a script with each of (keys, arguments), and return the replies.

        :returns: None when the server has no scripting; nothing was executed then.
        :raises DamagedData: when a key holds something else than a series of this type; that call, and
            no other, was not applied.
        """
        commands = [_command(script.cached, call) for call in calls]
        replies = self._wire.execute(commands, [keys[0] for keys, _ in calls], repeatable)
        return self._settle(script, calls, replies, repeatable)

    def _settle(
        self, script: _Script, calls: Sequence[_Call], replies: list[Any], repeatable: bool
    ) -> list[Any] | None:
        """Look at the replies to calls of a script; see :meth:`_run`."""
        if replies.count(1) == len(replies):
            # All were applied, which is the rule.
            self._scripting = True
            return replies
        if any(isinstance(reply, Exception) for reply in replies):
            self._load(script, calls, replies, repeatable)
        for reply, (its, _) in zip(replies, calls, strict=True):
            if isinstance(reply, Exception):
                if _refused(reply, "unknown command"):
                    self._scripting = False
                    return None
                raise reply
            if isinstance(reply, int) and reply < 0:
                raise _no_such(its[-reply - 1], self._type)
        self._scripting = True
        return replies

    def _load(
        self,
        script: _Script,
        calls: Sequence[_Call],
        replies: list[Any],
        repeatable: bool,
    ) -> None:
        """Run again, with its text, what a server refused that does not know the script yet."""
        again = [
            index for index, reply in enumerate(replies) if _refused(reply, "NOSCRIPT", "No matching")
        ]
        fresh = self._wire.execute(
            [_command(script.whole, calls[index]) for index in again],
            [calls[index][0][0] for index in again],
            repeatable,
        )
        for index, reply in zip(again, fresh, strict=True):
            replies[index] = reply

    def _write_pipeline(self, groups: Sequence[Group], pipeline: Any) -> None:
        """Queue the writes on the caller's pipeline, without executing anything."""
        if is_cluster(pipeline):
            # A pipeline of a cluster takes no cached scripts, and none by its own methods.
            for event, writes in groups:
                if event is not None:
                    raise UnsupportedType("id= does not work on the pipeline of a cluster")
                for keys, arguments in self._calls_by_key(writes, None):
                    pipeline.execute_command("EVAL", self._write_script.text, 1, *keys, *arguments)
            return
        if self._scripting is None:
            probe = (b"SCRIPT", b"EXISTS", self._write_script.digest.encode())
            reply = self._wire.execute([probe], [b""], repeatable=True)[0]
            self._scripting = not isinstance(reply, Exception)
        if not self._scripting:
            for command in self._plain(groups):
                pipeline.execute_command(*command)
            return
        if self._queued_script is None:
            # One object for all: a pipeline asks the server for each that it has met.
            self._queued_script = self._client.register_script(self._write_script.text)
        for group in groups:
            keys, arguments = self._claimed_call(group)
            self._queued_script(keys=keys, args=arguments, client=pipeline)

    def _plain(self, groups: Sequence[Group]) -> Iterator[Command]:
        """Yield the writes as plain commands, for servers without scripting."""
        for event, writes in groups:
            if event is not None:
                raise UnsupportedType("id= needs a server with scripting")
            for (key,), (data, _, seconds, _, *its) in self._calls_by_key(writes, None):
                command = self._write_command if data == b"1" else b"SADD"
                if command == b"HINCRBY":
                    for at in range(0, len(its), 2):
                        yield command, key, its[at], its[at + 1]
                elif command == b"INCRBY":
                    # It adds whole numbers exactly too, whatever the count is now.
                    yield b"INCRBYFLOAT", key, *its
                else:
                    yield command, key, *its
                if seconds:
                    yield b"EXPIRE", key, seconds

    def _write_transactions(self, groups: Sequence[Group]) -> None:
        """Write each group as a MULTI/EXEC transaction, for servers without scripting.

        What a key holds is looked at before, not in the same step.
        """
        for group in groups:
            commands = [(b"MULTI",), *self._plain([group]), (b"EXEC",)]
            looks = [(b"TYPE", command[1]) for command in commands[1:-1]]
            types = self._wire.execute(looks, [b""] * len(looks), repeatable=True)
            for (_, key), command, found in zip(looks, commands[1:-1], types, strict=True):
                wanted = b"set" if command[0] == b"SADD" else self._redis_type
                if command[0] != b"EXPIRE" and found not in (b"none", wanted):
                    raise _no_such(key, self._type)
            replies = self._wire.execute(commands, [b""] * len(commands), repeatable=False)
            results = replies[-1] if isinstance(replies[-1], list) else ()
            for command, reply in zip(commands[1:-1], results, strict=False):
                if _refused(reply, "WRONGTYPE", "not an integer", "not a valid float"):
                    raise _no_such(command[1], self._type) from reply
            for reply in (*replies, *results):
                if isinstance(reply, Exception):
                    raise reply

    # --- reading -----------------------------------------------------------------------------------------

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        if self._count_command is None or (merging and not self._count_adds):
            return frozenset()
        # What a read_func makes of the members of a set may be fewer.
        if self._read_func is not None and not self._count_adds:
            return frozenset()
        return frozenset({"count"})

    def _fetch(self, plan: ReadPlan) -> Rows:
        if plan.fetch is not None:
            return self._fetch_custom(plan, plan.fetch)
        reading = self._reading(plan)
        try:
            requests = next(reading)
            while True:
                replies: list[Any] = []
                commands, keys = requests
                if commands:
                    replies = self._wire.execute(commands, keys, repeatable=True)
                requests = reading.send(replies)
        except StopIteration as done:
            rows: Rows = done.value
            return rows

    def _reading(
        self, plan: ReadPlan
    ) -> Generator[tuple[Sequence[Command], Sequence[bytes]], list[Any], Rows]:
        """Yield batches of commands with their keys, take the replies, and return the rows."""
        interval = plan.interval
        rows: Rows = {name: {} for name in plan.names}
        starts = [f"{self._prefix}{name}:{interval.interval}:".encode() for name in rows]
        i_keys = [b"%b%d" % (start, bucket) for start in starts for bucket in plan.buckets]
        if interval.coarse:
            values = iter((yield from self._values_at(i_keys, plan)))
            for table in rows.values():
                # Ends with the buckets, so that the next name's values are left.
                pairs = zip(plan.buckets, values, strict=False)
                table.update({bucket: {None: raw} for bucket, raw in pairs if raw is not None})
            return rows
        cells = [
            (name, bucket, key)
            for (name, bucket), key in zip(product(rows, plan.buckets), i_keys, strict=True)
        ]
        if self._strings and self._sorting and not plan.partials:
            sortable = [not _unsortable(name) for name in plan.names]
            if all(sortable):
                found = yield from self._sorted(cells)
                if found is not None:
                    return found
        replies = yield [(b"SMEMBERS", key) for _, _, key in cells], [key for _, _, key in cells]
        resolutions: list[list[int]] = []
        keys: list[bytes] = []
        for (_, _, key), members in zip(cells, replies, strict=True):
            resolutions.append(_resolutions(_checked(members, key), key))
            start = key + b":"
            keys += [start + member for member in members]
        raws = yield from self._values_at(keys, plan)
        end = 0
        for (name, bucket, _), its in zip(cells, resolutions, strict=True):
            first, end = end, end + len(its)
            row = _present(its, raws[first:end])
            if row:
                rows[name][bucket] = row
        if plan.condense and plan.partials:
            return _condensed(rows)
        return rows

    def _values_at(
        self, keys: Sequence[bytes], plan: ReadPlan
    ) -> Generator[tuple[Sequence[Command], Sequence[bytes]], list[Any], list[Any]]:
        """Read the rows at keys; None stands for a key that does not exist."""
        if plan.partials:
            counts = yield from self._counts_at(keys)
            return [{"count": count} if count else None for count in counts]
        if self._strings and not self._cluster and len(keys) > 1:
            return (yield from self._strings_at(keys))
        command, *rest = self._read_command
        values = _all_checked((yield [(command, key, *rest) for key in keys], keys), keys)
        return values if self._strings else [value or None for value in values]

    def _counts_at(
        self, keys: Sequence[bytes]
    ) -> Generator[tuple[Sequence[Command], Sequence[bytes]], list[Any], list[Any]]:
        """Count the values of rows.

        A script that counts at many keys takes the server half as long again as that many commands, some
        0.3 ms for each call, but a client a fifth of the time that it needs for their replies.
        """
        command = cast(bytes, self._count_command)
        if self._counting and len(keys) > 1:
            parts = [keys[at : at + _COUNTED] for at in range(0, len(keys), _COUNTED)]
            calls = [(b"EVAL", _COUNTS, b"%d" % len(part), *part, command) for part in parts]
            replies = yield calls, [part[0] for part in parts]
            if not any(isinstance(reply, Exception) for reply in replies):
                return _all_checked(list(chain.from_iterable(replies)), keys)
            # No scripting here, or not for this user.
            self._counting = False
        return _all_checked((yield [(command, key) for key in keys], keys), keys)

    def _strings_at(
        self, keys: Sequence[bytes]
    ) -> Generator[tuple[Sequence[Command], Sequence[bytes]], list[Any], list[Any]]:
        """Read many strings with few commands.

        MGET takes a key of another type for one that does not exist. EXISTS, in the same round trip, tells
        how many do; where the two disagree, or a key came or went in between, each is read by itself.
        """
        parts = [keys[at : at + _KEYS] for at in range(0, len(keys), _KEYS)]
        commands = [(command, *part) for part in parts for command in (b"MGET", b"EXISTS")]
        replies = yield commands, [command[1] for command in commands]
        values: list[Any] = []
        doubtful: list[int] = []
        for at, part in enumerate(parts):
            found, existing = _checked(replies[2 * at], part[0]), replies[2 * at + 1]
            if existing != sum(value is not None for value in found):
                doubtful += range(len(values), len(values) + len(part))
            values += found
        if doubtful:
            again = [keys[index] for index in doubtful]
            replies = yield [(b"GET", key) for key in again], again
            for index, reply in zip(doubtful, replies, strict=True):
                values[index] = _checked(reply, keys[index])
        return values

    def _sorted(
        self, cells: Sequence[tuple[str, int, bytes]]
    ) -> Generator[tuple[Sequence[Command], Sequence[bytes]], list[Any], Rows | None]:
        """Read resolution buckets and their strings at once, by SORT's way to follow a set to keys.

        :returns: None where the server refuses, a read-only replica for one.
        """
        keys = [key for _, _, key in cells for _ in range(2)]
        commands: list[Command] = []
        for _, _, key in cells:
            commands.append((b"SORT", key, b"BY", b"nosort", b"GET", b"#", b"GET", key + b":*"))
            # SORT takes lists too; this refuses all but sets.
            commands.append((b"SCARD", key))
        replies = yield commands, keys
        rows: Rows = {name: {} for name, _, _ in cells}
        missing: list[tuple[str, int, int, bytes]] = []
        for (name, bucket, key), reply, size in zip(cells, replies[::2], replies[1::2], strict=True):
            _checked(size, key)
            if isinstance(reply, Exception) and not _refused(reply, "WRONGTYPE"):
                self._sorting = False
                return None
            members, values = _checked(reply, key)[::2], reply[1::2]
            resolutions = _resolutions(members, key)
            row = _present(resolutions, values)
            if row:
                rows[name][bucket] = row
            if len(row) < len(values):
                missing += [
                    (name, bucket, resolution, key + b":" + member)
                    for resolution, member, raw in zip(resolutions, members, values, strict=True)
                    # Gone, or of another type.
                    if raw is None
                ]
        if missing:
            keys = [key for _, _, _, key in missing]
            replies = yield [(b"GET", key) for key in keys], keys
            for (name, bucket, resolution, key), reply in zip(missing, replies, strict=True):
                raw = _checked(reply, key)
                if raw is not None:
                    rows[name].setdefault(bucket, {})[resolution] = raw
        return rows

    def _fetch_custom(self, plan: ReadPlan, fetch: Callable[[Any, str], Any]) -> Rows:
        """Read rows with the caller's own function, on the client or on a pipeline."""
        interval = plan.interval
        cells = [(name, bucket) for name in dict.fromkeys(plan.names) for bucket in plan.buckets]
        if interval.coarse:
            places: list[tuple[str, int, int | None]] = [(*cell, None) for cell in cells]
        else:
            keys = [self._key(*cell[:1], interval, cell[1], None) for cell in cells]
            replies = self._wire.execute([(b"SMEMBERS", key) for key in keys], keys, True)
            places = [
                (*cell, _resolution(member, key))
                for cell, key, members in zip(cells, keys, replies, strict=True)
                for member in sorted(_checked(members, key))
            ]
        texts = [
            self._key(name, interval, bucket, resolution).decode()
            for name, bucket, resolution in places
        ]
        if interval.coarse and plan.single and not plan.joined:
            values = [fetch(self._client, texts[0])]
        else:
            pipeline = self._client.pipeline(**({} if self._cluster else {"transaction": False}))
            for text in texts:
                fetch(pipeline, text)
            values = pipeline.execute()
        rows: Rows = {}
        for (name, bucket, resolution), raw in zip(places, values, strict=True):
            if raw is not None:
                rows.setdefault(name, {}).setdefault(bucket, {})[resolution] = raw
        return rows

    # --- values ------------------------------------------------------------------------------------------

    def _decode(self, raw: Iterable[Any]) -> list[Any]:
        """Return values as text (or bytes without an encoding), through read_func if there is one."""
        read, encoding = self._read_func, self._encoding
        if encoding is None:
            return list(raw) if read is None else [read(each) for each in raw]
        try:
            texts = [each.decode(encoding) if type(each) is bytes else each for each in raw]
        except UnicodeDecodeError as error:
            raise DamagedData(
                f"a value is not {encoding}; encoding=None reads bytes: {error}"
            ) from error
        return texts if read is None else [read(each) for each in texts]

    def _collected(self, collect: type[Any], raws: list[Any]) -> Iterable[Any]:
        """Return rows for lists of raw values, each as one collection of the values."""
        read = self._read_func
        if (read is float or read is int) and set(map(type, raws)) <= {list}:
            try:
                # Both read plain bytes, and give the same as for the text.
                return [collect(map(read, raw)) for raw in raws]
            except ValueError:
                pass
        return map(self._process_row, raws)

    # --- housekeeping ------------------------------------------------------------------------------------

    def _scan(self, start: str, before: str = "") -> Iterator[tuple[Server, list[bytes]]]:
        """Yield the keys that start with prefix and text, node by node, in batches; some come twice.

        :param before: a glob for what may stand before the prefix.
        """
        match = (before + _GLOB.sub(r"\\\1", self._prefix + start) + "*").encode()
        for server in self._wire.servers():
            cursor = b"0"
            while True:
                command = (b"SCAN", cursor, b"MATCH", match, b"COUNT", b"%d" % _KEYS)
                (reply,) = server.execute([command], [b""], repeatable=True)
                if isinstance(reply, Exception):
                    raise reply
                cursor, keys = reply
                cursor = cursor if isinstance(cursor, bytes) else str(cursor).encode()
                if keys:
                    yield server, keys
                if cursor == b"0":
                    break

    def list(self) -> list[str]:
        """Return the names that hold data in this series, sorted.

        Walks over all keys with SCAN, on every node of a cluster.
        """
        names: set[str] = set()
        for _, keys in self._scan(""):
            for key in keys:
                names.update(name for name, _, _ in self._parse(_as_text(key)))
        return sorted(names)

    def _first_last(self, name: str) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for _, keys in self._scan(name + ":"):
            for key in keys:
                for its, interval, bucket in self._parse(_as_text(key)):
                    if its == name:
                        low, high = found.get(interval, (bucket, bucket))
                        found[interval] = min(low, bucket), max(high, bucket)
        return found

    def delete(self, name: str) -> int:
        """Delete exactly this name, in all intervals; return how many keys went.

        Events are remembered all the same: one that is delivered again stays uncounted.
        """
        check_name(name, "name")
        return self._unlink(
            self._scan(name + ":"), lambda key: any(its == name for its, _, _ in self._parse(key))
        )

    def delete_all(self) -> int:
        """Delete every name of this series and forget its events; return how many keys of data went."""
        gone = self._unlink(self._scan(""), lambda key: any(self._parse(key)))
        claims = _CLAIMS + self._series_key()
        own = re.compile(rf"(\{{\d+\}})?{re.escape(self._prefix + claims)}[0-9a-f]+(:[0-9a-f]+)?:id")
        self._unlink(
            self._scan(claims, before="*" if self._cluster else ""),
            lambda key: own.fullmatch(key) is not None,
        )
        return gone

    def _unlink(
        self, scan: Iterable[tuple[Server, Sequence[bytes]]], wanted: Callable[[str], bool]
    ) -> int:
        gone = 0
        for server, keys in scan:
            own = [key for key in keys if wanted(_as_text(key))]
            if self._cluster:
                # One command must not name keys of several slots.
                commands: list[Command] = [(b"UNLINK", key) for key in own]
            else:
                commands = [(b"UNLINK", *own)] if own else []
            for reply in server.execute(commands, own, repeatable=True):
                if isinstance(reply, Exception):
                    raise reply
                gone += reply
        return gone


def _no_such(key: bytes, kind: str) -> DamagedData:
    return DamagedData(
        f"Redis key {key.decode(errors='replace')!r} holds no {kind}, or one that would leave 64 bits: "
        "nothing of this insert was written"
    )


def _refused(reply: Any, *reasons: str) -> bool:
    """Tell whether a reply is the server's refusal for one of some reasons."""
    if not isinstance(reply, Exception):
        return False
    # Drivers make classes of some errors and cut the code off their text.
    text = str(reply).lower()
    return any(reason.lower() in text for reason in reasons) or (
        "NOSCRIPT" in reasons and type(reply).__name__ == "NoScriptError"
    )


def _checked(reply: Any, key: bytes) -> Any:
    """Return a reply, or raise what it says of the key."""
    if isinstance(reply, Exception):
        if _refused(reply, "WRONGTYPE"):
            place = key.decode(errors="replace")
            raise DamagedData(f"Redis key {place!r}: {reply}") from reply
        raise reply
    return reply


def _all_checked(replies: list[Any], keys: Sequence[bytes]) -> list[Any]:
    """Return replies, or raise what the first refusal says of its key."""
    if any(issubclass(kind, Exception) for kind in set(map(type, replies))):
        for reply, key in zip(replies, keys, strict=True):
            _checked(reply, key)
    return replies


def _present(resolutions: Sequence[int], raws: Sequence[Any]) -> dict[int | None, Any]:
    """Return what holds data, of resolution buckets and their raw rows."""
    pairs = zip(resolutions, raws, strict=True)
    if None in raws:
        return {resolution: raw for resolution, raw in pairs if raw is not None}
    return dict(pairs)


def _resolutions(members: Iterable[bytes], key: bytes) -> list[int]:
    """Return the resolution buckets that the set at a key lists."""
    try:
        return list(map(int, members))
    except ValueError:
        return [_resolution(member, key) for member in members]


def _resolution(member: bytes, key: bytes) -> int:
    try:
        return int(member)
    except ValueError as error:
        place = key.decode(errors="replace")
        raise DamagedData(f"Redis key {place!r} lists {member!r}, which is no bucket") from error


def _unsortable(name: str) -> bool:
    """Tell whether SORT would see a pattern or a field of a hash in a key."""
    return "*" in name or "->" in name


def _as_text(key: bytes) -> str:
    # Keys of others need not be UTF-8; none of them is one of ours then.
    return key.decode(errors="surrogateescape")


def _condensed(rows: Rows) -> Rows:
    """Add the counts of the resolutions up to one per interval."""
    return {
        name: {
            bucket: {None: {"count": sum(row["count"] for row in cell.values())}}
            for bucket, cell in table.items()
        }
        for name, table in rows.items()
    }


class RedisSeries(RedisBackend, Series):
    """Keep each bucket as a list."""

    _redis_type = b"list"
    _write_command = b"RPUSH"
    _write_script = _Script(_WRITE % {"check": _PROBE % "LLEN", "command": "'RPUSH'"})
    _read_command = (b"LRANGE", b"0", b"-1")
    _count_command = b"LLEN"
    _count_adds = True


    def _arguments(self, delta: list[bytes]) -> Sequence[bytes]:
        return delta

    def _process_row(self, raw: Any) -> Any:
        return self._decode(raw)

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        return self._collected(list, raws)


class RedisHistogram(RedisBackend, Histogram):
    """Keep each bucket as a hash of values to numbers."""

    _redis_type = b"hash"
    _write_command = b"HINCRBY"
    _write_script = _Script(_WRITE % {"check": _HISTOGRAM, "command": "'HINCRBY'"})
    _read_command = (b"HGETALL",)

    def _arguments(self, delta: dict[bytes, int]) -> Sequence[bytes]:
        return [part for value, count in delta.items() for part in (value, b"%d" % count)]

    def _process_row(self, raw: Any) -> Any:
        if isinstance(raw, Mapping):
            values, counts = list(raw), list(raw.values())
        else:
            values, counts = raw[::2], raw[1::2]
        try:
            counts = [int(count) for count in counts]
        except ValueError as error:
            raise DamagedData(f"a number of occurrences is none: {error}") from error
        row: dict[Any, int] = {}
        for value, count in zip(self._decode(values), counts, strict=True):
            row[value] = row.get(value, 0) + count
        return row


class RedisCount(RedisBackend, Count):
    """Keep each bucket as a number in a string."""

    _redis_type = b"string"
    _write_command = b"INCRBY"
    _write_script = _Script(_WRITE % {"check": _COUNT, "command": "commands[i]"})
    _read_command = (b"GET",)
    _strings = True

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        deltas = [write.delta for _, writes in groups for write in writes]
        if not all(deltas):
            # A coarse key that holds 0 reads as one that is not there, and the original makes none for a 0.
            kept = [
                Group(event, [each for each in writes if each.delta or each.target.r_bucket is not None])
                for event, writes in groups
            ]
            groups = [group for group in kept if group.event or group.writes]
        if groups:
            super()._write(groups, handle)

    def _arguments(self, delta: float) -> Sequence[bytes]:
        return (b"%d" % delta if type(delta) is int else repr(delta).encode(),)

    def _process_row(self, raw: Any) -> Any:
        if self._read_func is not None:
            return self._decode([raw])[0]
        try:
            return _float(raw) if isinstance(raw, float) else int(raw)
        except (TypeError, ValueError):
            return _float(raw)

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        if self._read_func is None and set(map(type, raws)) <= {bytes}:
            try:
                return list(map(int, raws))
            except ValueError:
                pass
        return map(self._process_row, raws)


def _float(raw: Any) -> int | float:
    try:
        value = float(raw)
        if value - value == 0:
            return int(value) if value.is_integer() else value
    except (TypeError, ValueError):
        pass
    raise DamagedData(f"{raw!r} is not a number")


class RedisGauge(RedisBackend, Gauge):
    """Keep each bucket as a string."""

    _redis_type = b"string"
    _write_command = b"SET"
    _write_script = _Script(_WRITE % {"check": _PROBE % "STRLEN", "command": "'SET'"})
    _read_command = (b"GET",)
    _strings = True

    def _arguments(self, delta: bytes) -> Sequence[bytes]:
        return (delta,)

    def _process_row(self, raw: Any) -> Any:
        return self._decode([raw])[0]


class RedisSet(RedisBackend, Set):
    """Keep each bucket as a set."""

    _redis_type = b"set"
    _write_command = b"SADD"
    _write_script = _Script(_WRITE % {"check": _PROBE % "SCARD", "command": "'SADD'"})
    _read_command = (b"SMEMBERS",)
    _count_command = b"SCARD"

    def _arguments(self, delta: list[bytes]) -> Sequence[bytes]:
        return delta

    def _process_row(self, raw: Any) -> Any:
        return set(self._decode(raw))

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        return self._collected(set, raws)
