"""MongoDB: one collection per interval, one document per bucket."""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from itertools import chain, groupby, islice
from numbers import Number
from typing import Any, ClassVar, Final, NamedTuple

from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from pymongo import MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
    WriteError,
)
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from .exceptions import (
    DamagedData,
    InvalidType,
    InvalidValue,
    UnknownOutcome,
    UnsupportedClient,
    UnsupportedType,
    unknown_outcome,
)
from .intervals import GregorianTime, Interval, Target, check_name
from .mongo_deployment import DUPLICATE_KEY, Deployment, Document, is_ours
from .mongo_values import (
    EPOCH,
    Codec,
    as_date,
    as_number,
    as_plain,
    check_text,
    copy_value,
)
from .pipeline import Group, ReadPlan, Rows, Write
from .timeseries import Backend, Count, Gauge, Histogram, Series, Set
from .types import COUNT, LIMIT

__all__ = [
    "MongoBackend",
    "MongoCount",
    "MongoGauge",
    "MongoHistogram",
    "MongoSeries",
    "MongoSet",
]

_DATABASE: Final = "kairos"
#: Collection of the events that are remembered; the prefix of the collections stands before it.
_CLAIMS: Final = "kairos.ids"

#: Bytes of the names of a database and a collection together, with a '.' between them.
_LONGEST_NAME: Final = 255

#: Writes that are applied together where nothing makes them one: bounds the memory for the commands.
_CHUNK: Final = 2000
#: Writes of claimed events that share one transaction.
_CLAIMED_CHUNK: Final = 500
#: Documents per reply: whole ranges mostly fit into the first one.
_BATCH: Final = 5000
#: How often writes are repeated that lost the race for creating their document.
_COLLISIONS: Final = 50
#: Seconds for which a transaction is repeated that others got in the way of.
_PATIENCE: Final = 60.0
#: Seconds after which a delivery of an event must not touch documents any more. It is measured by the
#: server's clock alone.
_LEASE: Final = 60.0
#: Once in so many events, their documents are rid of claims that nobody needs any more ...
_TIDY_EVERY: Final = 64
#: ... if they hold at least so many.
_TIDY_FROM: Final = 64

_CONVERSION_FAILED: Final = 241
#: A server that is no primary says so before it looks at a write.
_REFUSED: Final = (10107, 13435)
#: The server says that it knows no transactions.
_NO_TRANSACTIONS: Final = (20, 263)

#: Types whose values BSON holds whatever they are, and gives back as they were.
_SIMPLE: Final = frozenset({float, bool, bytes, ObjectId, type(None)})
#: Types of decoded values that may stand for something else.
_RESTORED: Final = frozenset({str, Int64})
_MISSING: Final = object()


class MongoTarget(Target):
    """Name a bucket, with the part of a query that finds its document."""

    __slots__ = ("query",)

    def __init__(
        self, interval: Interval, i_bucket: int, r_bucket: int | None, i_start: int
    ) -> None:
        super().__init__(interval, i_bucket, r_bucket, i_start)
        for bucket in (i_bucket, r_bucket or 0):
            if not -LIMIT <= bucket < LIMIT:
                raise InvalidValue(f"bucket {bucket} of {interval!r} is out of MongoDB's 64 bits")
        self.query: Document = {
            "interval": i_bucket,
            # Otherwise a coarse interval would write into what a finer one of that name left.
            "resolution": {"$exists": False} if r_bucket is None else r_bucket,
        }


class _Operation(NamedTuple):
    """Change one document, which is made if it is not there."""

    query: Document
    change: Document | list[Document]


def _query(write: Write) -> Document:
    """Return the query that finds the document of a write."""
    target: Any = write.target
    return {"name": write.name, **target.query}


def _identity(operation: _Operation) -> tuple[Any, ...]:
    """Return what tells the documents of one collection apart."""
    resolution = operation.query["resolution"]
    return (
        operation.query["name"],
        operation.query["interval"],
        None if isinstance(resolution, dict) else resolution,
    )


class _Delivery:
    """Accompany one call of ``_write``.

    :ivar session: the caller's, or None.
    :ivar now: the second of the call.
    :ivar applied: whether something has been written by now, so that no later error can mean "nothing".
    """

    __slots__ = ("applied", "now", "session")

    def __init__(self, session: ClientSession | None) -> None:
        self.session = session
        self.now = int(time.time())
        self.applied = False


class _Misfit(Exception):
    """Carry an operation out of a transaction that its document was in the way of."""

    def __init__(
        self, collection: Collection[Document], operation: _Operation, message: str
    ) -> None:
        super().__init__(message)
        self.collection = collection
        self.operation = operation


class _Failure(NamedTuple):
    """Tell what the server said of one operation of several."""

    position: int
    code: int
    message: str


def _failures(error: WriteError | BulkWriteError) -> list[_Failure]:
    if isinstance(error, BulkWriteError):
        return [
            _Failure(each["index"], each["code"], each["errmsg"])
            for each in error.details["writeErrors"]
        ]
    return [_Failure(0, error.code or 0, str(error))]


class _OwnClient(MongoClient[Document]):
    """Be a client that was made from a URL, and is closed with its series."""


def _clash(error: Exception) -> bool:
    """Tell whether an operation was refused only because another one has just made its document."""
    if isinstance(error, (WriteError, BulkWriteError)):
        found = _failures(error)
        return bool(found) and all(each.code == DUPLICATE_KEY for each in found)
    return False


class MongoBackend(Backend):
    """Keep series in MongoDB, in the layout of the original kairos.

    Every interval has a collection of its name, in which a document ``{name, interval, [resolution],
    value, [expire_from]}`` is a bucket. Values keep their BSON type; the keys of histograms are text.

    Options:

    ``escape_character``
        stands for '.' in the keys of histograms, U+FFFF by default.
    ``collection_prefix``
        is put before the names of all collections, so that several series can share a database.
    ``transactions``
        None, the default, uses transactions where the deployment has them (replica sets and sharded
        clusters); False never does; True demands them, and a write to a standalone server is an error.

    A client is a ``MongoClient`` (whose database ``kairos`` is used) or a ``Database``. The write concern,
    the read concern, the read preference and the codec options are those of the client or database. With
    a URL, the database is that of its path, else ``client_config['database']``, else ``kairos``, and the
    rest of ``client_config`` goes to ``MongoClient``.

    Guarantees, for acknowledged writes (with a write concern of 0 nobody learns of errors):

    - An insert is one atomic step where there are transactions; on a standalone server each of its
      documents is. In a bulk insert, groups of up to 500 documents take the place of one insert. What
      somebody else's transaction is in the way of is repeated for up to a minute; where many processes
      write one name all the time, ``transactions=False`` is several times as fast.
    - A write whose answer is lost is applied once or not at all. Replica sets and sharded clusters
      recognize the driver's retry (``retryWrites``, on by default) and apply it once. Where the outcome
      stays unknown, :class:`kairos.exceptions.UnknownOutcome` says so; kairos repeats nothing that may
      have been applied. That includes errors after a part of an insert has been written, and writes that
      were applied but not confirmed by as many servers as the write concern demands.
    - A bucket has one document, whoever writes: the index ``(name, interval, resolution)`` is unique. In
      a collection whose older data has several documents for a bucket it cannot be; the index is a plain
      one then, a warning says so, and documents of one bucket are merged when they are read.
    - An event with an id counts once, in all intervals, whatever fails in between, while it is remembered.
      With transactions its claim is part of the transaction. Without, the second of its first delivery is
      pinned in the collection ``kairos.ids``, and each document is changed together with its own claim, in
      the field ``ids`` of the document, so a delivery that failed half-way is completed by the next one;
      a delivery that takes more than a minute by the server's clock starts over.
    - A document of an interval with ``steps`` is born with ``expire_from``. MongoDB removes it once the
      retention has passed since then, within about a minute. Data that is out of the window already gets a
      later ``expire_from``, by which it lives for one more step.
    - With ``session=`` everything is written in the caller's session, and a transaction of it decides;
      nothing in it is repeated. Indexes are made outside of it: the first write of a process, and its
      first id, may make a transaction that is under way fail as one to be repeated, which the driver's
      ``with_transaction`` does.

    Indexes are made before the first write of a process, never on reads. A TTL index with another expiry
    is changed with ``collMod``. Where indexes cannot be made a warning names them, and writing goes on.
    On a sharded cluster, shard by ``{name: 1}`` or ``{name: 1, interval: 1}``.

    The original's older forms are read too, and added to: escaped floats, nested keys of histograms,
    buckets of Gregorian steps as text. They come first where order matters.

    Pushed to the server: ``count`` and ``rate`` of type ``series``, as array sizes, added up per interval
    when resolutions are condensed. Sums and extremes are not: the server's arithmetic of mixed numbers is
    not Python's.

    ``fetch(collection, *, spec, sort, method)`` is called once per name; ``method`` is ``'find_one'`` for a
    ``get`` without resolutions of one name, and must return a document with ``value``, or None; else it is
    ``'find'``, and must return documents with ``value``, ``interval`` and ``resolution`` (if any).

    Threads and greenlets may share an instance. After a fork, a client works in the child too, though the
    driver warns and recommends a client per process.
    """

    _handle = "session"
    _options: ClassVar[Mapping[str, Any]] = {
        "escape_character": "\uffff",
        "collection_prefix": "",
        "transactions": None,
    }
    _target_class = MongoTarget

    # --- what the cells define -------------------------------------------------------------------------

    #: Codes by which the server says that a document is not what the type keeps there.
    _misfits: ClassVar[frozenset[int]] = frozenset()

    def _change(self, delta: Any) -> Document:
        """Return the update operators that add a delta to a document."""
        raise NotImplementedError

    def _changed(self, delta: Any) -> Any:
        """Return the aggregation expression of a document's value with the delta added."""
        raise NotImplementedError

    def _check_row(self, raw: Any) -> Any:
        """Return what was stored for a bucket.

        :raises DamagedData: when it is not what the type keeps.
        """
        return raw

    def _merge_rows(self, raws: Sequence[Any]) -> Any:
        """Return one stored row for those of several documents of a bucket, the oldest first."""
        return raws[-1]

    def _repair(self, collection: Collection[Document], query: Document) -> bool:
        """Bring a document of an older form into today's, and tell whether it was of one."""
        return False

    # --- setting up ------------------------------------------------------------------------------------

    @classmethod
    def _connect(cls, url: str, config: dict[str, Any]) -> Database[Document]:
        name = config.pop("database", None) or _DATABASE
        return _OwnClient(url, **config).get_default_database(name)

    @classmethod
    def _accept(cls, client: Any) -> Database[Document]:
        if isinstance(client, Database):
            return client
        if isinstance(client, MongoClient):
            return client.get_database(_DATABASE)
        raise UnsupportedClient(
            f"MongoDB needs a MongoClient or a Database of pymongo, not {type(client)!r}"
        )

    def _setup(self, **options: Any) -> None:
        escape_character = options["escape_character"]
        collection_prefix = options["collection_prefix"]
        transactions = options["transactions"]
        if not isinstance(escape_character, str) or len(escape_character) != 1:
            raise InvalidValue(f"escape_character must be one character, not {escape_character!r}")
        if escape_character in ".$\0":
            raise InvalidValue(f"escape_character must not be {escape_character!r}")
        if collection_prefix:
            check_name(collection_prefix, "collection_prefix")
        if transactions not in (None, True, False):
            raise InvalidType(f"transactions must be None, True or False, not {transactions!r}")
        self._codec = Codec(escape_character)
        self._collection_prefix: str = collection_prefix or ""
        self._transactions: bool | None = transactions
        database: Database[Document] = self._client
        codec_options = database.codec_options
        if not issubclass(codec_options.document_class, dict):
            database = database.with_options(codec_options.with_options(document_class=dict))
        self._database = database
        # What cannot do without an answer gets one, even if the caller wants none for the rest.
        self._sure = None if database.write_concern.acknowledged else WriteConcern(1)
        client: MongoClient[Document] = database.client
        self._deployment = Deployment.of(client)
        self._indexed = float("-inf")
        self._collections = {name: self._collection(name) for name in self._intervals}
        if isinstance(client, _OwnClient):
            weakref.finalize(self, client.close)

    def _collection(self, name: str) -> Collection[Document]:
        """Return the collection of an interval, unless the server would refuse its name."""
        try:
            collection = self._database[self._collection_prefix + name]
        except InvalidName as error:
            raise InvalidValue(f"interval {name!r} cannot name a collection: {error}") from error
        if name == _CLAIMS:
            raise InvalidValue(f"interval {name!r}: a collection of this name keeps the ids")
        if collection.name.startswith("system."):
            raise InvalidValue(f"interval {name!r} would be a collection of MongoDB's own")
        if len(collection.full_name.encode()) > _LONGEST_NAME:
            raise InvalidValue(f"interval {name!r} makes too long a name for a collection")
        return collection

    def _ready(self, session: ClientSession | None) -> None:
        """See to the indexes of all intervals, before the first write and once in a while."""
        if time.monotonic() < self._indexed:
            return
        self._indexed = min(
            self._deployment.index(collection, self._intervals[name].expire, session is None)
            for name, collection in self._collections.items()
        )

    # --- values ----------------------------------------------------------------------------------------

    def _encode(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SIMPLE:
            return value
        if kind is str:
            return self._codec.value(check_text(value))
        if kind is int:
            if -LIMIT <= value < LIMIT:
                return value
            raise InvalidValue(
                f"{value!r} is out of the 64 bits that MongoDB has for whole numbers"
            )
        plain = as_plain(value)
        if type(plain) is not kind:
            return self._encode(plain)
        return copy_value(value, self._database.codec_options)

    def _restored(self, values: list[Any]) -> list[Any]:
        """Return stored values as they were before they were stored, through ``read_func``."""
        if not _RESTORED.isdisjoint(map(type, values)):
            restore = self._codec.restored
            values = [restore(value) for value in values]
        return values if self._read_func is None else list(map(self._read_func, values))

    # --- writing ---------------------------------------------------------------------------------------

    def _write(self, groups: Sequence[Group], handle: Any) -> None:
        if handle is not None and not isinstance(handle, ClientSession):
            raise InvalidType(f"session must be a ClientSession of pymongo, not {handle!r}")
        delivery = _Delivery(handle)
        self._ready(handle)
        atomic = handle is None and self._atomic()
        for claimed, run in groupby(groups, lambda group: group.event is not None):
            if claimed:
                self._write_claimed(list(run), delivery, atomic)
            elif atomic:
                for group in run:
                    self._write_atomically(group.writes, delivery)
            else:
                writes = (write for group in run for write in group.writes)
                while chunk := list(islice(writes, _CHUNK)):
                    self._deliver_all(self._operations(chunk, delivery), delivery, handle)

    def _atomic(self) -> bool:
        """Return whether writes are to be made in transactions of our own.

        :raises UnsupportedType: when transactions are demanded and there are none.
        """
        if self._transactions is False:
            return False
        transactional = self._deployment.transactional(self._database.client)
        if transactional and self._database.write_concern.acknowledged:
            return True
        if self._transactions:
            raise UnsupportedType(
                "transactions are demanded, but this deployment has none: it is a standalone server, or "
                "the write concern is 0"
            )
        return False

    def _operations(
        self, writes: Iterable[Write], delivery: _Delivery
    ) -> dict[str, list[_Operation]]:
        """Return what writes do to the documents of each interval."""
        operations: dict[str, list[_Operation]] = {}
        for write in writes:
            change = self._change(write.delta)
            expire_from = self._expire_from(write, delivery.now)
            if expire_from is not None:
                change.setdefault("$set", {})["expire_from"] = expire_from
            operation = _Operation(_query(write), change)
            operations.setdefault(write.target.interval.interval, []).append(operation)
        return operations

    @staticmethod
    def _expire_from(write: Write, now: int) -> datetime | DatetimeMS | None:
        """Return the date from which the retention of a document is counted."""
        interval = write.target.interval
        expire = interval.expire
        if expire is None or write.ttl is None:
            return None
        start, due = write.timestamp, write.target.i_start + expire
        # Where the calendar's steps are longer than they count, data in the window may be due as well.
        if start + expire <= now or (due <= now and due <= interval.i_calc.normalize(now)):
            start = now + write.ttl - expire
        return as_date(start)

    def _deliver_all(
        self,
        operations: Mapping[str, list[_Operation]],
        delivery: _Delivery,
        session: ClientSession | None,
    ) -> None:
        """Apply operations outside of transactions of our own, collection by collection."""
        try:
            for name, part in operations.items():
                self._deliver(self._collections[name], part, delivery, session)
        except PyMongoError as error:
            self._raise_unknown(error, delivery, session, operations)
            raise

    def _deliver(
        self,
        collection: Collection[Document],
        operations: list[_Operation],
        delivery: _Delivery,
        session: ClientSession | None,
        ordered: bool | None = None,
    ) -> None:
        """Apply operations to a collection, and repeat those that were certainly not applied.

        Two writers may both find that a bucket has no document yet. The index lets one of them make it,
        and the other one is told so; its operation finds the document when it is repeated. In a
        transaction, any error ends the transaction, so nothing is repeated here.
        """
        pending = operations
        transaction = session is not None and session.in_transaction
        for attempt in range(_COLLISIONS):
            try:
                if len(pending) == 1:
                    query, change = pending[0]
                    collection.update_one(query, change, upsert=True, session=session)
                else:
                    if ordered is None:
                        ordered = len(set(map(_identity, pending))) < len(pending)
                    requests = [UpdateOne(query, change, True) for query, change in pending]
                    collection.bulk_write(requests, ordered, session=session)
                delivery.applied = delivery.applied or not transaction
                return
            except (WriteError, BulkWriteError) as error:
                failures = _failures(error)
                if not failures:
                    raise
                misfits = [each for each in failures if each.code in self._misfits]
                if transaction:
                    for each in misfits:
                        misfit = _Misfit(collection, pending[each.position], each.message)
                        raise misfit from error
                    raise
                untouched = (
                    pending[failures[0].position :]
                    if ordered and len(pending) > 1
                    else [pending[each.position] for each in failures]
                )
                delivery.applied = delivery.applied or len(untouched) < len(pending)
                if len(misfits) + sum(each.code == DUPLICATE_KEY for each in failures) < len(
                    failures
                ) or (isinstance(error, BulkWriteError) and error.details["writeConcernErrors"]):
                    raise
                for each in misfits:
                    self._mend(collection, pending[each.position], each.message, error)
                if attempt == _COLLISIONS - 1:
                    raise
                pending = untouched

    def _mend(
        self,
        collection: Collection[Document],
        operation: _Operation,
        message: str,
        error: BaseException,
    ) -> None:
        """Make way for an operation, or tell which document is damaged."""
        primary = collection.with_options(read_preference=ReadPreference.PRIMARY)
        if not self._repair(primary, operation.query):
            name, i_bucket, r_bucket = _identity(operation)
            place = _place(collection.name, name, i_bucket, r_bucket)
            raise DamagedData(f"{place}: {message}") from error

    def _raise_unknown(
        self,
        error: PyMongoError,
        delivery: _Delivery,
        session: ClientSession | None,
        what: Iterable[str],
    ) -> None:
        """Raise unless it is clear what was applied; a transaction of the caller is not over yet."""
        if isinstance(error, UnknownOutcome) or (session is not None and session.in_transaction):
            return
        if _is_lost(error) and (delivery.applied or self._was_sent(error)):
            raise self._unknown(error, what) from error

    def _unknown(self, error: PyMongoError, what: Iterable[str]) -> Exception:
        places = ", ".join(repr(self._collection_prefix + name) for name in what)
        return unknown_outcome(error, f"a write to {places}")

    def _was_sent(self, error: PyMongoError) -> bool:
        """Tell whether the server may have received what failed."""
        if isinstance(error, (ServerSelectionTimeoutError, WaitQueueTimeoutError)):
            return False
        client = self._database.client
        if client.options.retry_writes and self._deployment.replicated:
            return True  # this may be the error of the retry: nothing is known of the first attempt
        if isinstance(error, NotPrimaryError):
            # Refused before it was looked at; the other codes also end what is being executed.
            details = error.details
            return not isinstance(details, Mapping) or details.get("code") not in _REFUSED
        # The driver raises these from within making or getting a connection.
        return not isinstance(error.__cause__, (ConnectionRefusedError, AutoReconnect))

    # --- transactions ----------------------------------------------------------------------------------

    def _write_atomically(self, writes: Sequence[Write], delivery: _Delivery) -> None:
        """Apply writes all or none."""
        operations = self._operations(writes, delivery)
        if len(writes) == 1:
            self._deliver_all(operations, delivery, None)
            return

        def work(session: ClientSession) -> None:
            for name, part in operations.items():
                self._deliver(self._collections[name], part, delivery, session)

        if not self._transact(work, delivery, operations, writes[0].name):
            self._deliver_all(operations, delivery, None)

    def _transact(
        self,
        work: Callable[[ClientSession], None],
        delivery: _Delivery,
        what: Iterable[str],
        name: str,
    ) -> bool:
        """Run work in a transaction, as often as it takes if others get in its way.

        :param what: the intervals that are written.
        :param name: a name that is written; those of one name come upon each other.
        :returns: False if the deployment turns out to have no transactions: nothing was done then.
        :raises UnknownOutcome: when the answer to the commit was lost for good.
        """
        give_up = time.monotonic() + _PATIENCE
        client = self._database.client
        pause = 0.0
        with ExitStack() as held:
            session = held.enter_context(client.start_session(causal_consistency=False))
            while True:
                session.start_transaction(
                    write_concern=self._database.write_concern,
                    read_preference=ReadPreference.PRIMARY,
                )
                try:
                    work(session)
                except BaseException as error:
                    if session.in_transaction:
                        session.abort_transaction()
                    if self._lacks_transactions(error):
                        self._deployment.refuse_transactions()
                        return False
                    if not self._is_excused(error, delivery, what, give_up):
                        raise
                else:
                    if self._commit(session, give_up, what):
                        delivery.applied = True
                        return True
                if not pause:
                    # Of all that failed in this process, one at a time tries again. Were it all of them, most
                    # of the attempts would fail, and the more of them there are.
                    held.enter_context(
                        self._deployment.queue(f"{self._database.name}/{name}", _PATIENCE)
                    )
                    give_up = time.monotonic() + _PATIENCE
                # Other processes that met it at one document shall not meet it there again.
                time.sleep(random.random() * pause)
                pause = min(0.01 + pause * 2, 0.5)

    def _is_excused(
        self, error: BaseException, delivery: _Delivery, what: Iterable[str], give_up: float
    ) -> bool:
        """Tell whether a transaction that failed may be tried again."""
        in_time = time.monotonic() < give_up
        if isinstance(error, _Misfit):
            cause = error.__cause__ or error
            self._mend(error.collection, error.operation, str(error), cause)
            if not in_time:
                raise cause from None
            return True
        if not isinstance(error, PyMongoError):
            return False
        if _is_passing(error) and in_time:
            return True
        # Nothing of this transaction was applied, of earlier ones perhaps.
        if delivery.applied:
            self._raise_unknown(error, delivery, None, what)
        return False

    def _lacks_transactions(self, error: BaseException) -> bool:
        return (
            self._transactions is None
            and isinstance(error, OperationFailure)
            and error.code in _NO_TRANSACTIONS
        )

    def _commit(self, session: ClientSession, give_up: float, what: Iterable[str]) -> bool:
        """Commit, and ask again while the answer is unknown: a commit can be repeated.

        :returns: whether it was committed; if not, nothing was applied.
        """
        while True:
            try:
                session.commit_transaction()
                return True
            except PyMongoError as error:
                over = time.monotonic() > give_up or error.timeout
                if error.has_error_label("UnknownTransactionCommitResult"):
                    if over or isinstance(error, (ExecutionTimeout, WriteConcernError)):
                        raise self._unknown(error, what) from error
                    time.sleep(0.01)
                elif not error.has_error_label("TransientTransactionError") or over:
                    raise
                else:
                    return False

    # --- events ----------------------------------------------------------------------------------------

    @property
    def _claims(self) -> Collection[Document]:
        """Return the collection of the events."""
        return self._database.get_collection(
            self._collection_prefix + _CLAIMS,
            read_preference=ReadPreference.PRIMARY,
            write_concern=self._sure,
        )

    def _write_claimed(self, groups: list[Group], delivery: _Delivery, atomic: bool) -> None:
        """Apply each event that was not applied before."""
        events: dict[str, Group] = {}
        for group in groups:
            if group.event is not None:
                events.setdefault(group.event.key, group)
        session = delivery.session
        self._deployment.index_claims(self._claims, session is None)
        if session is not None and session.in_transaction:
            self._apply_events(events, session, delivery)
            return
        while events and atomic:
            part = _leading(events, _CLAIMED_CHUNK)
            if not self._claim_atomically(part, delivery):
                break
            for key in part:
                del events[key]
        if events:
            self._claim_piecemeal(events, delivery)

    def _claim_atomically(self, events: Mapping[str, Group], delivery: _Delivery) -> bool:
        unfinished: list[str] = []

        def work(session: ClientSession) -> None:
            unfinished[:] = self._apply_events(events, session, delivery)

        first = next(iter(events.values())).writes[0].name
        if not self._transact(work, delivery, [*self._intervals, _CLAIMS], first):
            return False
        if unfinished:
            # Transactions were off when these came first.
            self._claim_piecemeal({key: events[key] for key in unfinished}, delivery)
        return True

    def _apply_events(
        self, events: Mapping[str, Group], session: ClientSession, delivery: _Delivery
    ) -> list[str]:
        """Claim events and apply them in a transaction.

        :returns: the keys of those that a delivery without a transaction has begun.
        """
        claims, now = self._claims, as_date(delivery.now)
        known = {
            claim["_id"]: "done" in claim
            for claim in claims.find(
                {"_id": {"$in": list(events)}, "expire": {"$gt": now}},
                {"done": 1},
                session=session,
            )
        }
        fresh = {key: group for key, group in events.items() if key not in known}
        if fresh:
            claims.bulk_write(
                [
                    UpdateOne(
                        {"_id": key}, {"$set": {**self._claim(group, delivery), "done": now}}, True
                    )
                    for key, group in fresh.items()
                ],
                session=session,
            )
            writes = (write for group in fresh.values() for write in group.writes)
            for name, part in self._operations(writes, delivery).items():
                self._deliver(self._collections[name], part, delivery, session)
        return [key for key, done in known.items() if not done]

    @staticmethod
    def _claim(group: Group, delivery: _Delivery) -> Document:
        event = group.event
        assert event is not None
        return {"at": event.timestamp, "expire": as_date(delivery.now + event.remember)}

    def _claim_piecemeal(self, events: Mapping[str, Group], delivery: _Delivery) -> None:
        """Apply events document by document, each with its claim, so that any delivery can go on."""
        session = delivery.session
        for attempt in (0, 1, 2):
            try:
                pins = self._pin(events, delivery)
                operations: dict[str, list[_Operation]] = {}
                for key, pin in pins.items():
                    for name, part in self._claiming(events[key], key, pin, delivery).items():
                        operations.setdefault(name, []).extend(part)
                for name, part in operations.items():
                    collection = self._collections[name].with_options(write_concern=self._sure)
                    for start in range(0, len(part), _CHUNK):
                        chunk = part[start : start + _CHUNK]
                        self._deliver(collection, chunk, delivery, session, ordered=True)
                if pins:
                    self._claims.update_many(
                        {"_id": {"$in": list(pins)}}, [{"$set": {"done": "$$NOW"}}], session=session
                    )
                    self._tidy(operations, next(iter(pins.values()))["seen"], session)
                return
            except (WriteError, BulkWriteError) as error:
                late = any(each.code == _CONVERSION_FAILED for each in _failures(error))
                if not late or attempt == 2:
                    raise
            except PyMongoError as error:
                self._raise_unknown(error, delivery, session, [*self._intervals, _CLAIMS])
                raise

    def _pin(self, events: Mapping[str, Group], delivery: _Delivery) -> dict[str, Document]:
        """Keep the second of each event's first delivery.

        :returns: the stored pins of the events that are not done yet: ``{at, expire, seen}``, where
            ``seen`` is the server's time.
        """
        claims, session = self._claims, delivery.session
        free = {"$lte": [{"$ifNull": ["$expire", EPOCH]}, as_date(delivery.now)]}
        operations = []
        for key, group in events.items():
            fresh = {"_id": key, **self._claim(group, delivery), "seen": "$$NOW"}
            seen = {"$mergeObjects": ["$$ROOT", {"seen": "$$NOW"}]}
            kept = {"$cond": [{"$gt": ["$done", None]}, "$$ROOT", seen]}
            pin = {"$replaceWith": {"$cond": [free, fresh, kept]}}
            operations.append(UpdateOne({"_id": key}, [pin], True))
        while operations:
            try:
                claims.bulk_write(operations, ordered=False, session=session)
                break
            except BulkWriteError as error:
                if not _clash(error) or (session is not None and session.in_transaction):
                    raise
                operations = [operations[each.position] for each in _failures(error)]
        found = claims.find(
            {"_id": {"$in": list(events)}, "done": {"$exists": False}},
            {"at": 1, "expire": 1, "seen": 1},
            session=session,
        )
        pins = {pin["_id"]: pin for pin in found}
        return {key: pins[key] for key in events if key in pins}

    def _claiming(
        self, group: Group, key: str, pin: Document, delivery: _Delivery
    ) -> dict[str, list[_Operation]]:
        """Return what an event does to its documents, each unless it has done so before."""
        event = group.event
        assert event is not None
        at = int(pin["at"])
        operations: dict[str, list[_Operation]] = {}
        for write in group.writes if at == event.timestamp else event.writes_at(at):
            here = {"$in": [key, "$ids.key"]}
            timely = {"$lt": ["$$NOW", pin["seen"] + timedelta(seconds=_LEASE)]}
            # No expression can refuse an update, but a conversion can fail; this one is only tried when
            # the claims may have been tidied away since the pin was read.
            refusal = {"$toInt": {"$concat": ["late: ", "$name"]}}
            value = {"$cond": [timely, self._changed(write.delta), refusal]}
            claim = [{"key": key, "expire": pin["expire"]}]
            change: Document = {
                "value": {"$cond": [here, "$value", value]},
                "ids": {"$cond": [here, "$ids", {"$concatArrays": ["$ids", claim]}]},
            }
            expire_from = self._expire_from(write, delivery.now)
            if expire_from is not None:
                change["expire_from"] = {"$cond": [here, "$expire_from", expire_from]}
            remembered = {
                "$filter": {
                    "input": {"$ifNull": ["$ids", []]},
                    "cond": {"$gt": ["$$this.expire", as_date(delivery.now)]},
                }
            }
            operation = _Operation(
                _query(write),
                [{"$set": {"ids": remembered}}, {"$set": change}],
            )
            operations.setdefault(write.target.interval.interval, []).append(operation)
        return operations

    def _tidy(
        self,
        operations: Mapping[str, list[_Operation]],
        seen: datetime,
        session: ClientSession | None,
    ) -> None:
        """Rid documents of the claims of events that were done long ago, once in a while.

        Whoever read a pin before it was done cannot use it any more when its lease is over, and whoever
        reads it now sees that it is done: nobody asks for the claims in the documents again.
        """
        count = sum(map(len, operations.values()))
        if session is not None or random.random() * _TIDY_EVERY > count:
            return
        for name, part in operations.items():
            collection = self._collections[name].with_options(
                read_preference=ReadPreference.PRIMARY
            )
            for operation in random.sample(part, min(len(part), 1 + len(part) // _TIDY_EVERY)):
                document = collection.find_one(operation.query, {"ids": 1}) or {}
                keys = [claim["key"] for claim in document.get("ids", ())]
                if len(keys) < _TIDY_FROM:
                    continue
                long_ago = seen - timedelta(seconds=3 * _LEASE)
                done = self._claims.find(
                    {"_id": {"$in": keys}, "done": {"$lt": long_ago}}, {"_id": 1}
                )
                gone = [pin["_id"] for pin in done]
                if gone:
                    collection.update_one(
                        {"_id": document["_id"]}, {"$pull": {"ids": {"key": {"$in": gone}}}}
                    )

    # --- reading ---------------------------------------------------------------------------------------

    def _spec(self, plan: ReadPlan, name: Any) -> Document:
        """Return the query for a plan; older versions kept buckets of Gregorian steps as text."""
        first, last = plan.buckets[0], plan.buckets[-1]
        textual = isinstance(plan.interval.i_calc, GregorianTime)
        if first == last:
            if textual:
                return {"name": name, "interval": {"$in": [first, str(first)]}}
            return {"name": name, "interval": first}
        numbers = {"name": name, "interval": {"$gte": first, "$lte": last}}
        if not textual:
            return numbers
        texts = {"name": name, "interval": {"$gte": str(first), "$lte": str(last)}}
        return {"$or": [numbers, texts]}

    def _fetch(self, plan: ReadPlan) -> Rows:
        if not -LIMIT <= plan.buckets[0] <= plan.buckets[-1] < LIMIT:
            return {}  # there is no document that MongoDB could hold
        collection = self._collections[plan.interval.interval]
        if plan.fetch is not None:
            return self._fetch_custom(collection, plan)
        several = len(plan.names) > 1
        name = {"$in": list(plan.names)} if several else plan.names[0]
        if plan.partials:
            return self._fetch_sizes(collection, plan, name)
        documents = _find(collection, self._spec(plan, name), _fields(several, 1), plan)
        return self._arranged(plan, documents, self._merge_rows)

    def _arranged(
        self,
        plan: ReadPlan,
        documents: Iterable[Mapping[str, Any]],
        merge: Callable[[Sequence[Any]], Any],
    ) -> Rows:
        """Arrange documents; those of one bucket are merged, older forms first."""
        name = plan.names[0]
        table: dict[int, dict[int | None, Any]] = {}
        rows: Rows = {name: table}
        # The latest cell, which mostly is that of the next document too: they come in this order.
        cell: dict[int | None, Any] = {}
        at: Any = _MISSING
        several = len(plan.names) > 1
        coarse = plan.interval.coarse
        older: list[tuple[str, Any, Any, Any]] = []
        for document in documents:
            if several and document["name"] != name:
                name = document["name"]
                table, at = rows.setdefault(name, {}), _MISSING
            i_bucket = document["interval"]
            r_bucket = document.get("resolution")
            if (r_bucket is None) is not coarse:
                continue  # an interval of this name was configured otherwise once
            raw = document.get("value", _MISSING)
            if type(i_bucket) is str or type(r_bucket) is str:
                older.append((name, i_bucket, r_bucket, raw))
                continue
            if raw is _MISSING:
                raise DamagedData(
                    f"{self._where(name, plan.interval, i_bucket, r_bucket)}: no value"
                )
            if i_bucket != at:
                cell, at = table.setdefault(i_bucket, {}), i_bucket
            if r_bucket in cell:
                cell[r_bucket] = self._merged(
                    plan, name, i_bucket, r_bucket, merge, [cell[r_bucket], raw]
                )
            else:
                cell[r_bucket] = raw
        for name, i_text, r_text, raw in reversed(older):
            try:
                i_bucket, r_bucket = int(i_text), None if r_text is None else int(r_text)
            except ValueError as error:
                place = self._where(name, plan.interval, i_text, r_text)
                raise DamagedData(f"{place}: that is no bucket") from error
            if raw is _MISSING:
                raise DamagedData(f"{self._where(name, plan.interval, i_text, r_text)}: no value")
            cell = rows.setdefault(name, {}).setdefault(i_bucket, {})
            if r_bucket in cell:
                raw = self._merged(plan, name, i_bucket, r_bucket, merge, [raw, cell[r_bucket]])
            cell[r_bucket] = raw
        return rows

    def _merged(
        self,
        plan: ReadPlan,
        name: str,
        i_bucket: int,
        r_bucket: int | None,
        merge: Callable[[Sequence[Any]], Any],
        raws: Sequence[Any],
    ) -> Any:
        try:
            return merge(raws)
        except DamagedData as error:
            place = self._where(name, plan.interval, i_bucket, r_bucket)
            raise DamagedData(f"{place}: {error}") from error

    def _fetch_custom(self, collection: Collection[Document], plan: ReadPlan) -> Rows:
        """Read by the caller's own function, name by name."""
        coarse = plan.interval.coarse
        single = plan.single and coarse and not plan.joined
        sort = [("interval", 1)] if coarse else [("interval", 1), ("resolution", 1)]
        rows: Rows = {}
        assert plan.fetch is not None
        for name in dict.fromkeys(plan.names):
            spec = self._spec(plan, name)
            method = "find_one" if single else "find"
            found = plan.fetch(collection, spec=spec, sort=sort, method=method)
            documents = found if method == "find" else [] if found is None else [found]
            one = ReadPlan([name], False, plan.interval, plan.buckets, plan.single)
            placed = self._placed(documents, plan)
            rows.update(self._arranged(one, placed, self._merge_rows))
        return rows

    @staticmethod
    def _placed(documents: Iterable[Mapping[str, Any]], plan: ReadPlan) -> Iterator[Document]:
        """Yield what the caller's own function found, as far as it says where it belongs."""
        for document in documents:
            found = dict(document)
            if plan.single:
                # There is but one interval, which need not be repeated.
                found.setdefault("interval", plan.buckets[0])
            for field in ("interval",) if plan.interval.coarse else ("interval", "resolution"):
                if field not in found:
                    raise InvalidValue(f"fetch must return documents with {field!r}, not {found!r}")
            yield found

    def _fetch_sizes(self, collection: Collection[Document], plan: ReadPlan, name: Any) -> Rows:
        """Let the server count the values of each bucket, or of each interval."""
        spec, size, several = self._spec(plan, name), {"$size": "$value"}, len(plan.names) > 1
        try:
            if not plan.condense:
                fields = _fields(several, size)
                found = _find(collection, spec, fields, plan)
                return _counted(self._arranged(plan, found, sum), int)
            stages: Sequence[Document] = [
                # What a coarse interval of that name left is none of ours.
                {"$match": {**spec, "resolution": {"$exists": True}}},
                {
                    "$group": {
                        # The server is quicker with one field than with two.
                        "_id": {"name": "$name", "interval": "$interval"} if several else "$interval",
                        "count": {"$sum": size},
                    }
                },
            ]
            groups = list(collection.aggregate(stages, batchSize=_BATCH))
        except OperationFailure as error:
            return self._count_rows(plan, error)
        rows: Rows = {}
        for group in groups:
            key = group["_id"] if several else {"name": name, "interval": group["_id"]}
            cells = rows.setdefault(key["name"], {}).setdefault(int(key["interval"]), {})
            # There is one more for what older versions kept under the bucket as text.
            cells[None] = {"count": int(group["count"] + cells.get(None, {"count": 0})["count"])}
        return rows

    def _count_rows(self, plan: ReadPlan, error: OperationFailure) -> Rows:
        """Count in Python what the server could not, and tell which document was in the way."""
        whole = ReadPlan(plan.names, plan.joined, plan.interval, plan.buckets, plan.single)
        rows = self._fetch(whole)
        for name, table in rows.items():
            for i_bucket, cells in table.items():
                for r_bucket, raw in cells.items():
                    try:
                        self._check_row(raw)
                    except DamagedData as damage:
                        place = self._where(name, plan.interval, i_bucket, r_bucket)
                        raise DamagedData(f"{place}: {damage}") from error
        if plan.condense:
            rows = {
                name: {
                    i_bucket: {None: [each for raw in cells.values() for each in raw]}
                    for i_bucket, cells in table.items()
                }
                for name, table in rows.items()
            }
        return _counted(rows, len)

    def _where(self, name: str, interval: Interval, i_bucket: Any, r_bucket: Any) -> str:
        collection = self._collection_prefix + interval.interval
        return _place(collection, name, i_bucket, r_bucket)

    # --- housekeeping ----------------------------------------------------------------------------------

    def _own_collections(self) -> Iterator[Collection[Document]]:
        """Yield the collections of this series; without intervals, those that kairos has indexed."""
        if self._intervals:
            yield from self._collections.values()
            return
        for name in sorted(self._database.list_collection_names(filter={"type": "collection"})):
            if name.startswith(self._collection_prefix):
                collection = self._database[name]
                if is_ours(collection):
                    yield collection

    def list(self) -> list[str]:
        """Return the names that hold data in this series, sorted.

        Without intervals, those of all collections of the database that carry an index of kairos.
        """
        names: set[str] = set()
        pipeline: Sequence[Document] = [
            {"$match": {"name": {"$type": "string"}}},
            {"$group": {"_id": "$name"}},
        ]
        for collection in self._own_collections():
            names.update(found["_id"] for found in collection.aggregate(pipeline))
        return sorted(names)

    def _first_last(self, name: str) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for interval, config in self._intervals.items():
            kinds = ["number"]
            if isinstance(config.i_calc, GregorianTime):
                kinds.append("string")
            ends: list[int] = []
            for kind in kinds:
                spec = {
                    "name": name,
                    "interval": {"$type": kind},
                    "resolution": {"$exists": not config.coarse},
                }
                for direction in (1, -1):
                    document = self._collections[interval].find_one(
                        spec, {"_id": 0, "interval": 1}, sort=[("interval", direction)]
                    )
                    if document is None:
                        break
                    try:
                        ends.append(int(document["interval"]))
                    except ValueError as error:
                        place = self._where(name, config, document["interval"], None)
                        raise DamagedData(f"{place}: that is no bucket") from error
            if ends:
                found[interval] = min(ends), max(ends)
        return found

    def delete(self, name: str) -> int:
        """Delete exactly this name, in all intervals.

        :returns: how many documents went.
        """
        check_name(name, "name")
        return self._delete({"name": name})

    def delete_all(self) -> int:
        """Delete every name of this series and forget its events: the documents, not the collections.

        :returns: how many documents of data went.
        """
        # Documents that look otherwise are somebody else's, even in a collection of this name.
        gone = self._delete({"name": {"$type": "string"}, "interval": {"$exists": True}})
        self._claims.delete_many({"_id": {"$regex": f"^{self._series_key()}"}})
        return gone

    def _delete(self, spec: Document) -> int:
        return sum(
            collection.with_options(write_concern=self._sure).delete_many(spec).deleted_count
            for collection in self._own_collections()
        )


def _place(collection: str, name: str, i_bucket: Any, r_bucket: Any) -> str:
    resolution = "" if r_bucket is None else f", 'resolution': {r_bucket!r}"
    return f"collection {collection!r}, document {{'name': {name!r}, 'interval': {i_bucket!r}{resolution}}}"


def _fields(several: bool, value: Any) -> Document:
    """Return what is wanted of each document, given how its value is wanted."""
    fields = {"_id": 0, "interval": 1, "resolution": 1, "value": value}
    return {**fields, "name": 1} if several else fields


def _find(
    collection: Collection[Document], spec: Document, fields: Document, plan: ReadPlan
) -> Iterable[Document]:
    """Return the documents of a read, at once where there can hardly be more than one reply holds."""
    found = collection.find(spec, fields, batch_size=_BATCH)
    interval = plan.interval
    each = 1 if interval.coarse else interval.i_calc.seconds // interval.r_calc.seconds
    if len(plan.names) * len(plan.buckets) * each > _BATCH:
        return found  # so that no more of them than one reply holds are in memory
    # The driver's own iteration asks before each of them whether there are more.
    return found.to_list()


def _counted(rows: Rows, count: Callable[[Any], int]) -> Rows:
    """Return rows of partials for rows that ``count`` is applied to."""
    return {
        name: {
            i_bucket: {r_bucket: {"count": count(raw)} for r_bucket, raw in cells.items()}
            for i_bucket, cells in table.items()
        }
        for name, table in rows.items()
    }


def _are_plain(raws: list[Any]) -> bool:
    """Tell whether rows are the usual ones, lists of values that are as they were before they were stored."""
    return set(map(type, raws)) <= {list} and _RESTORED.isdisjoint(
        map(type, chain.from_iterable(raws))
    )


def _leading(events: Mapping[str, Group], size: int) -> dict[str, Group]:
    """Return the first events, with at most so many writes (or one event)."""
    part: dict[str, Group] = {}
    for key, group in events.items():
        size -= len(group.writes)
        if part and size < 0:
            break
        part[key] = group
    return part


def _is_lost(error: PyMongoError) -> bool:
    """Tell whether an error leaves open what the server did."""
    if isinstance(error, BulkWriteError):
        return bool(error.details["writeConcernErrors"])
    return isinstance(
        error, (ConnectionFailure, WriteConcernError, ExecutionTimeout)
    ) or error.has_error_label("RetryableWriteError")


def _is_passing(error: PyMongoError) -> bool:
    """Tell whether a transaction that failed with this error is worth another try."""
    if isinstance(error, ServerSelectionTimeoutError) or error.timeout:
        return False  # the driver has waited for as long as it was told to
    return error.has_error_label("TransientTransactionError") or _clash(error)


class _Arrays:
    """Keep buckets as arrays; a base to be put before the backend."""

    _misfits: ClassVar[frozenset[int]] = frozenset({2, 17043, 28664})

    def _check_row(self, raw: Any) -> list[Any]:
        if not isinstance(raw, list):
            raise DamagedData(f"a list was expected, not {raw!r}")
        return raw

    def _merge_rows(self, raws: Sequence[Any]) -> list[Any]:
        return [value for raw in raws for value in self._check_row(raw)]


class MongoSeries(_Arrays, MongoBackend, Series):
    """Keep a bucket as an array of its values."""

    def _change(self, delta: list[Any]) -> Document:
        return {"$push": {"value": {"$each": delta}}}

    def _changed(self, delta: list[Any]) -> Any:
        return {"$concatArrays": [{"$ifNull": ["$value", []]}, {"$literal": delta}]}

    def _process_row(self, raw: Any) -> list[Any]:
        return self._restored(self._check_row(raw))

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        usual = self._read_func is None and _are_plain(raws)
        return raws if usual else super()._process_rows(raws)

    def _partials(self, plan: ReadPlan, merging: bool) -> frozenset[str]:
        return frozenset({"count"})


class MongoHistogram(MongoBackend, Histogram):
    """Keep a bucket as a subdocument of value to number."""

    _misfits = frozenset({14, 28, 16554, 40400})

    def _encode(self, value: Any) -> str:
        kind = type(value)
        if kind is not str:
            value = self._spelled(as_plain(value))
        return self._codec.key(check_text(value))

    def _spelled(self, value: Any) -> str:
        """Return the text of a value that is to be a key."""
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise InvalidValue(f"{value!r} cannot be a key: {error}") from error
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            raise InvalidType(
                f"{value!r} cannot be a value of a histogram: it has no text of its own"
            )
        if not isinstance(value, Number):
            super()._encode(value)  # raises for what MongoDB does not know
        try:
            return str(value)
        except ValueError as error:  # whole numbers with thousands of digits
            raise InvalidValue(str(error)) from error

    def _change(self, delta: dict[str, int]) -> Document:
        return {"$inc": {f"value.{key}": count for key, count in delta.items()}}

    def _changed(self, delta: dict[str, int]) -> Any:
        added = {
            key: {"$add": [{"$ifNull": [f"$value.{key}", 0]}, count]}
            for key, count in delta.items()
        }
        return {"$mergeObjects": [{"$ifNull": ["$value", {}]}, added]}

    def _check_row(self, raw: Any) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise DamagedData(f"a subdocument was expected, not {raw!r}")
        return raw

    def _flat(self, row: Mapping[str, Any]) -> dict[str, int | float]:
        """Return a row without nesting: older versions took the '.' in a value for a path."""
        flat: dict[str, int | float] = {}
        for key, count in row.items():
            if isinstance(count, dict):
                for rest, inner in self._flat(count).items():
                    joined = f"{key}{self._codec.escape}{rest}"
                    flat[joined] = flat.get(joined, 0) + inner
            else:
                flat[key] = flat.get(key, 0) + as_number(count)
        return flat

    def _merge_rows(self, raws: Sequence[Any]) -> dict[Any, Any]:
        return self._algebra.merge([self._flat(self._check_row(raw)) for raw in raws])

    def _process_row(self, raw: Any) -> dict[Any, Any]:
        row = self._check_row(raw)
        if not all(type(count) is int for count in row.values()):
            row = self._flat(row)
        text, read = self._codec.text, self._read_func
        result: dict[Any, Any] = {}
        for key, count in row.items():
            value = text(key)
            if read is not None:
                value = read(value)
            result[value] = result[value] + count if value in result else count
        return result

    def _repair(self, collection: Collection[Document], query: Document) -> bool:
        document = collection.find_one(query, {"value": 1})
        if document is None:
            return True
        row = document.get("value")
        if not isinstance(row, dict) or not any(isinstance(each, dict) for each in row.values()):
            return False
        try:
            flat = self._flat(row)
        except DamagedData:
            return False
        # Whoever was faster has changed the value: then the write is tried on that.
        unchanged = {"_id": document["_id"], "value": {"$eq": row}}
        collection.update_one(unchanged, {"$set": {"value": flat}})
        return True


class MongoCount(MongoBackend, Count):
    """Keep a bucket as a number."""

    _misfits = frozenset({14, 16554})

    def _change(self, delta: Any) -> Document:
        return {"$inc": {"value": delta}}

    def _changed(self, delta: Any) -> Any:
        total = {"$add": [{"$ifNull": ["$value", 0]}, delta]}
        if type(delta) is float:
            return total
        # A sum of integers that leaves 64 bits would become a double; the conversion back refuses that.
        exact = {"$in": [{"$type": "$value"}, ["int", "long", "missing"]]}
        return {"$cond": [exact, {"$toLong": total}, total]}

    def _check_row(self, raw: Any) -> int | float:
        return as_number(raw)

    def _merge_rows(self, raws: Sequence[Any]) -> Any:
        return COUNT.merge(map(as_number, raws))

    def _process_row(self, raw: Any) -> Any:
        count = raw if type(raw) is int else as_number(raw)
        return count if self._read_func is None else self._read_func(count)

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        usual = self._read_func is None and set(map(type, raws)) <= {int}
        return raws if usual else super()._process_rows(raws)


class MongoGauge(MongoBackend, Gauge):
    """Keep a bucket as the value itself; null is as if there were none."""

    def _change(self, delta: Any) -> Document:
        return {"$set": {"value": delta}}

    def _changed(self, delta: Any) -> Any:
        return {"$literal": delta}

    def _arranged(
        self,
        plan: ReadPlan,
        documents: Iterable[Mapping[str, Any]],
        merge: Callable[[Sequence[Any]], Any],
    ) -> Rows:
        documents = (each for each in documents if each.get("value") is not None)
        return super()._arranged(plan, documents, merge)

    def _process_row(self, raw: Any) -> Any:
        value = self._codec.restored(raw)
        return value if self._read_func is None else self._read_func(value)

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        return self._restored(raws)


class MongoSet(_Arrays, MongoBackend, Set):
    """Keep a bucket as an array of its distinct values."""

    def _encode(self, value: Any) -> Any:
        encoded = super()._encode(value)
        try:
            hash(encoded)
        except TypeError as error:
            raise InvalidType(f"{value!r} cannot be in a set: {error}") from error
        return encoded

    def _change(self, delta: list[Any]) -> Document:
        return {"$addToSet": {"value": {"$each": delta}}}

    def _changed(self, delta: list[Any]) -> Any:
        return {"$setUnion": [{"$ifNull": ["$value", []]}, {"$literal": delta}]}

    def _process_rows(self, raws: list[Any]) -> Iterable[Any]:
        if self._read_func is None and _are_plain(raws):
            with suppress(TypeError):
                return list(map(set, raws))
        return super()._process_rows(raws)

    def _process_row(self, raw: Any) -> set[Any]:
        try:
            return set(self._restored(self._check_row(raw)))
        except TypeError as error:
            raise DamagedData(f"values that can be in a set were expected: {error}") from error
