"""What is known of MongoDB's servers, and the indexes that collections have there."""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pymongo import IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

Document = dict[str, Any]

#: The index of the lookups, which also keeps a bucket from having two documents; the name comes first,
#: since reads ask for one name (or few) and a range of intervals.
_LOOKUP: Final = [("name", 1), ("interval", 1), ("resolution", 1)]
_EXPIRY: Final = [("expire_from", 1)]
#: What collections of kairos, or of the original, can be told by: names and keys of their indexes.
_KNOWN: Final[Mapping[str, list[tuple[str, int]]]] = {
    "name_1_interval_1_resolution_1": _LOOKUP,
    "interval_1_name_1": [("interval", 1), ("name", 1)],
    "interval_1_resolution_1_name_1": [("interval", 1), ("resolution", 1), ("name", 1)],
}
#: Seconds after which indexes are looked after again: somebody may have dropped the collection.
_VALID: Final = 60.0
DUPLICATE_KEY: Final = 11000


def _keys(collection: Collection[Document]) -> dict[str, list[tuple[str, Any]]]:
    return {index["name"]: list(index["key"].items()) for index in collection.list_indexes()}


def _locks() -> list[threading.Lock]:
    return [threading.Lock() for _ in range(64)]


def is_ours(collection: Collection[Document]) -> bool:
    """Tell whether a collection has an index by which kairos, or the original, looks buckets up."""
    return any(_KNOWN.get(name) == key for name, key in _keys(collection).items())


class Deployment:
    """Remember what is known of a client's servers, for as long as the client lives.

    :ivar replicated: whether it is a replica set or a sharded cluster: those recognize a write that the
        driver repeats, and apply it once. None as long as nothing is known.
    """

    def __init__(self, client: MongoClient[Document]) -> None:
        self._client = weakref.ref(client)
        self._described: Any = None
        #: (database, collection, expiry) to the moment until which the indexes count as being there.
        self._indexed: dict[tuple[str, str, int | None], float] = {}
        self._refused = False
        self._queues, self._process = _locks(), os.getpid()
        self.replicated: bool | None = None

    @classmethod
    def of(cls, client: MongoClient[Document]) -> Deployment:
        """Return what is remembered for this very client; those for the same hosts compare equal."""
        key = id(client)
        known = _deployments.get(key)
        if known is None or known._client() is not client:
            _deployments[key] = known = cls(client)
            weakref.finalize(client, _deployments.pop, key, None).atexit = False
        return known

    def _look(self, client: MongoClient[Document]) -> bool:
        """Return ``replicated``, from what the driver knows by now; it asks only if that is nothing."""
        description = client.topology_description
        if description is not self._described:
            if not self._learn(description) and self.replicated is None:
                client.admin.command("ping")
                description = client.topology_description
                self._learn(description)
            self._described = description
        return bool(self.replicated)

    def _learn(self, description: Any) -> bool:
        kinds = {server.server_type_name for server in description.server_descriptions().values()}
        if "Standalone" in kinds:
            self.replicated = False
        elif kinds & {"RSPrimary", "RSSecondary", "Mongos", "LoadBalancer"}:
            self.replicated = True
        else:
            return False
        return True

    def transactional(self, client: MongoClient[Document]) -> bool:
        """Tell whether there are transactions."""
        return self._look(client) and not self._refused

    def refuse_transactions(self) -> None:
        """Remember that a server said that it has no transactions."""
        self._refused = True

    @contextmanager
    def queue(self, key: str, patience: float) -> Iterator[None]:
        """Hold a place that only one of this process holds at a time, or go on without it in the end.

        :param key: of the place; others may share it.
        :param patience: seconds to wait for it.
        """
        if self._process != os.getpid():
            # In a forked process, nobody is there to release what was held in the other one.
            self._queues, self._process = _locks(), os.getpid()
        lock = self._queues[hash(key) % len(self._queues)]
        held = lock.acquire(timeout=patience)
        try:
            yield
        finally:
            if held:
                lock.release()

    # --- indexes ---------------------------------------------------------------------------------------

    def index(self, collection: Collection[Document], expire: int | None, again: bool) -> float:
        """See to the indexes of a collection, as far as they can be made.

        It costs a round trip before the first write of a process, and once a minute after that. What is
        in the way is only treated, and warned of, the first time.

        :param again: whether to look again when it is time; a transaction that is under way may hold what
            an index waits for.
        :returns: the moment until which there is nothing to do, by the monotonic clock.
        """
        key = collection.database.name, collection.name, expire
        now = time.monotonic()
        due = self._indexed.get(key)
        if due is not None and (due > now or not again):
            return max(due, now)
        lookup = [IndexModel(_LOOKUP, unique=True)]
        expiry = [] if expire is None else [IndexModel(_EXPIRY, expireAfterSeconds=expire)]
        try:
            self._create(collection, lookup + expiry)
        except OperationFailure:
            if due is None:
                # One of them is in the way of both: one at a time, then.
                try:
                    self._create(collection, lookup)
                except OperationFailure as error:
                    self._index_plainly(collection, error)
                if expire is not None:
                    try:
                        self._create(collection, expiry)
                    except OperationFailure:
                        _change_expiry(collection, expire)
        self._indexed[key] = due = now + _VALID
        return due

    def index_claims(self, claims: Collection[Document], again: bool) -> None:
        """See to the index by which the server removes the events that are to be forgotten."""
        key = claims.database.name, claims.name, 0
        now = time.monotonic()
        due = self._indexed.get(key)
        if due is not None and (due > now or not again):
            return
        try:
            self._create(claims, [IndexModel([("expire", 1)], expireAfterSeconds=0)])
        except OperationFailure as error:
            if due is None:
                warnings.warn(
                    f"collection {claims.full_name} could not be given its TTL index, so ids are "
                    f"forgotten in time but not removed: {error}",
                    stacklevel=2,
                )
        self._indexed[key] = now + _VALID

    def _create(self, collection: Collection[Document], models: Sequence[IndexModel]) -> None:
        quorum: Document = {}
        if self._look(collection.database.client):
            # By default a new index waits for every member, also for one that is down.
            quorum["commitQuorum"] = "majority"
        for last in (False, True):
            try:
                collection.create_indexes(list(models), **quorum)
                return
            except ServerSelectionTimeoutError:
                raise
            except AutoReconnect:
                # It is harmless to repeat, and a failover is no reason to refuse a write.
                if last:
                    raise

    def _index_plainly(self, collection: Collection[Document], error: OperationFailure) -> None:
        """Fall back to an index that is not unique, and say why."""
        try:
            if not any(key == _LOOKUP for key in _keys(collection).values()):
                self._create(collection, [IndexModel(_LOOKUP)])
            if error.code == DUPLICATE_KEY:
                problem = "holds several documents for one bucket, so its index cannot be unique"
            else:
                problem = "has an index on (name, interval, resolution) that is not unique"
        except OperationFailure:
            problem = "could not be given its index on (name, interval, resolution)"
        warnings.warn(
            f"collection {collection.full_name} {problem}: concurrent writers may add further documents "
            "to a bucket; they are merged when read. Merge them for good and drop that index, and a "
            f"unique one is made ({error})",
            stacklevel=2,
        )


_deployments: Final[dict[int, Deployment]] = {}


def _change_expiry(collection: Collection[Document], expire: int) -> None:
    """Give the TTL index that is there another expiry."""
    index = {"keyPattern": dict(_EXPIRY), "expireAfterSeconds": expire}
    try:
        collection.database.command("collMod", collection.name, index=index)
    except OperationFailure as error:
        warnings.warn(
            f"collection {collection.full_name}: its TTL index on 'expire_from' could not be made to "
            f"expire documents after {expire} seconds, so they may live longer or shorter: {error}",
            stacklevel=2,
        )
