"""Hold what the jobs share: servers, a place of their own in each, and the original."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .original import Original

#: Where servers are looked for. Without a MongoDB there, one is started.
URLS: Final = {
    "redis": "redis://127.0.0.1:6379",
    "mongo": "mongodb://127.0.0.1:27017",
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/test",
    "mariadb": "mysql+pymysql://root@127.0.0.1:3306/test",
}


class Unavailable(Exception):
    """Tell why a job cannot run here."""


def need(*modules: str) -> None:
    """Go on if modules can be imported.

    :raises Unavailable: if not.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise Unavailable(f"{', '.join(missing)} cannot be imported")


@dataclass
class Bench:
    """Hold what the jobs share; it is closed by :meth:`close`.

    :ivar urls: of the servers, by the names of :data:`URLS`.
    :ivar original: the original, if there is an interpreter with it.
    :ivar values: how many values are streamed where memory is measured.
    """

    urls: dict[str, str]
    original: Original | None = None
    values: int = 5_000_000

    def __post_init__(self) -> None:
        self.stack = ExitStack()
        #: Begins the names of all keys, databases and tables that are made.
        self.token = f"kairos_bench_{os.getpid()}"
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="kairos-bench-"))
        self.folder = Path(folder)
        self.urls = {**self.urls, "sqlite": f"sqlite:///{self.folder / 'bench.db'}"}
        self._versions: dict[str, str] = {}
        self._found: dict[str, str] = {}
        #: What could not be done, and why.
        self.notes: list[str] = []

    def note(self, note: str) -> None:
        """Keep the last line of what is to be told about the run."""
        line = note.strip().splitlines()[-1]
        first = note.strip().splitlines()[0].partition(": ")[0]
        note = line if line.startswith(first) else f"{first}: {line}"
        if note not in self.notes:
            self.notes.append(note)

    def close(self) -> None:
        """Stop what was started, and remove the files."""
        self.stack.close()

    # --- servers -----------------------------------------------------------------------------------------

    @property
    def redis(self) -> str:
        """Return the URL of a Redis that answers.

        :raises Unavailable: when there is none.
        """
        return self._find("redis", self._ask_redis)

    @property
    def mongo(self) -> str:
        """Return the URL of a MongoDB that answers, and has been started if none was there.

        :raises Unavailable: when there is none, and no mongod either.
        """
        try:
            return self._find("mongo", self._ask_mongo)
        except Unavailable:
            if self.urls["mongo"] != URLS["mongo"]:
                raise
            self.urls["mongo"] = self._start_mongo()
            return self._find("mongo", self._ask_mongo)

    def redis_beside(self, stack: ExitStack) -> tuple[str, str]:
        """Start a Redis on the one core that this process, and the original's, is bound to until the end.

        What an insert costs is then all the work that it makes, for client, server and system. On cores of
        their own, client and server mostly wait for the other core to wake up, which takes longer than an
        insert and differs from turn to turn.

        :returns: its URL, and that of its socket in the file system.
        :raises Unavailable: when there is no server program, or no way to bind a process to a core.
        """
        if not hasattr(os, "sched_setaffinity"):
            raise Unavailable("this system does not bind processes to cores")
        need("redis", "hiredis")
        from tests.support.servers import RedisServer, ServerMissing

        processes = [0] if self.original is None else [0, self.original.pid]
        for process in processes:
            cores = os.sched_getaffinity(process)
            stack.callback(os.sched_setaffinity, process, cores)
            os.sched_setaffinity(process, {max(cores)})
        path = self.folder / "redis.sock"
        try:
            server = stack.enter_context(RedisServer("--unixsocket", str(path)))
        except ServerMissing as error:
            raise Unavailable(str(error)) from error
        self._versions["redis"] = self._ask_redis(server.url)
        return server.url, f"unix://{path}"

    def sql(self, name: str) -> str:
        """Return the URL of a SQL database that answers; of ``sqlite``, that of a file.

        :raises Unavailable: when there is none.
        """
        need("sqlalchemy")
        return self._find(name, self._ask_sql)

    def servers(self) -> list[str]:
        """Return the names and versions of the servers that were used."""
        return list(self._versions.values())

    def _find(self, name: str, ask: Callable[[str], str]) -> str:
        """Return the URL of a server, once it has told its version."""
        if name not in self._found:
            url = self.urls[name]
            try:
                self._versions[name] = ask(url)
            except Unavailable:
                raise
            except Exception as error:
                raise Unavailable(f"{url}: {str(error).splitlines()[0]}") from error
            self._found[name] = url
        return self._found[name]

    @staticmethod
    def _ask_redis(url: str) -> str:
        need("redis", "hiredis")
        import redis

        with contextlib.closing(redis.Redis.from_url(url)) as client:
            info: Any = client.info("server")
            return f"Redis {info['redis_version']}"

    @staticmethod
    def _ask_mongo(url: str) -> str:
        need("pymongo")
        import pymongo

        client: Any = pymongo.MongoClient(url, serverSelectionTimeoutMS=500)
        with contextlib.closing(client):
            return f"MongoDB {client.server_info()['version']}"

    @staticmethod
    def _ask_sql(url: str) -> str:
        import sqlalchemy

        engine = sqlalchemy.create_engine(url)
        try:
            with engine.connect() as connection:
                title = "SQLite" if url.startswith("sqlite") else ""
                found = connection.exec_driver_sql(
                    "SELECT sqlite_version()" if title else "SELECT version()"
                ).scalar_one()
        finally:
            engine.dispose()
        # PostgreSQL names itself, and its compiler after a parenthesis.
        words = str(found).partition(" (")[0]
        return (
            f"{title} {words}".strip()
            if "MariaDB" not in words
            else f"MariaDB {words.partition('-')[0]}"
        )

    def _start_mongo(self) -> str:
        need("pymongo")
        try:
            from tests.support.servers import Mongod, ServerMissing
        except ImportError as error:
            raise Unavailable(f"no MongoDB answers, and none can be started: {error}") from error
        try:
            return self.stack.enter_context(Mongod()).url
        except ServerMissing as error:
            raise Unavailable(f"no MongoDB answers, and {error}") from error
