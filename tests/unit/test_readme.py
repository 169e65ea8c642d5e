"""The README and the pages in docs: every block of code runs as it stands, and prints what it says.

A Python block goes on from the blocks before it in its section, and in the sections around that one. A
block of ``text`` right after it is what it prints. Blocks of SQL run on PostgreSQL, those for a shell are
checked for programs and options that do not exist. The class ``elsewhere`` marks what needs something
that cannot be had here, such as a sharded MongoDB.

The addresses of servers, and the prefix of Redis keys, are replaced by those of the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from kairos import exceptions

from ..support.backends import Servers

core = pytest.importorskip("docutils.core")
nodes = pytest.importorskip("docutils.nodes")

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
OTHERS = [ROOT / "CHANGELOG.rst"]

#: The addresses that the examples use, and the servers of the tests that stand for them.
SERVERS = {
    "redis://localhost:6379/0": "redis",
    "redis+cluster://10.0.0.1:7000,10.0.0.2:7000": "cluster",
    "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster/0": "sentinel",
    "mongodb://localhost:27017/shop?replicaSet=rs0": "replica_set",
    "mongodb://localhost:27017/shop": "mongo",
    "postgresql+psycopg://shop@localhost/shop": "postgresql",
    "mysql+pymysql://shop@localhost/shop": "mariadb",
}
#: The prefix of all Redis keys in the examples.
PREFIX = 'prefix="shop"'
#: What a Python block holds that needs a process of its own.
APART = ("monkey.patch_all()", '"__main__:')


class Block(NamedTuple):
    """A block of code, and where it stands."""

    language: str
    text: str
    line: int
    sections: tuple[str, ...]
    elsewhere: bool
    #: What it prints, as the document has it; None where it does not say.
    output: str | None


class Document(NamedTuple):
    """A parsed document."""

    path: Path
    tree: Any
    blocks: list[Block]


def parse(path: Path) -> Document:
    """Parse a document; docutils raises an error where it would warn."""
    source = path.read_text(encoding="utf-8")
    tree = core.publish_doctree(
        source,
        source_path=str(path),
        settings_overrides={
            "halt_level": 2,
            "report_level": 5,
            "syntax_highlight": "none",
            "file_insertion_enabled": False,
            "raw_enabled": False,
        },
    )
    starts = [
        number
        for number, line in enumerate(source.splitlines(), 1)
        if re.match(r" *\.\. code::", line)
    ]
    found = list(tree.findall(nodes.literal_block))
    assert len(found) == len(starts), f"{path.name}: every block must be made by '.. code::'"
    blocks: list[Block] = []
    for start, node in zip(starts, found, strict=True):
        language = node["classes"][1] if len(node["classes"]) > 1 else ""
        sections = []
        parent = node.parent
        while parent is not None:
            if isinstance(parent, nodes.section):
                sections.append(parent["ids"][0])
            parent = parent.parent
        elsewhere = "elsewhere" in node["classes"]
        place = tuple(reversed(sections))
        if (
            language == "text"
            and blocks
            and blocks[-1].language == "python"
            and blocks[-1].sections == place
        ):
            blocks[-1] = blocks[-1]._replace(output=node.astext())
        else:
            blocks.append(Block(language, node.astext(), start + 2, place, elsewhere, None))
    return Document(path, tree, blocks)


def chains() -> Iterator[Any]:
    """Yield the blocks that run together: those of a section, after those of the sections around it."""
    for path in DOCUMENTS:
        blocks = [each for each in parse(path).blocks if each.language in ("python", "sql")]
        for section in dict.fromkeys(each.sections for each in blocks):
            own = [each for each in blocks if each.sections == section]
            if not any(each.language == "python" for each in own):
                continue
            last = blocks.index(own[-1])
            chain = [
                each
                for each in blocks[: last + 1]
                if each.sections == section[: len(each.sections)] and not each.elsewhere
            ]
            yield pytest.param(path, chain, id=":".join([path.name, *section[-1:]]))


class Stage:
    """Where examples run: servers of the tests, and a place of their own on each."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._stack = ExitStack()
        self._addresses: dict[str, str] = {}
        self.token = f"k{uuid.uuid4().hex[:12]}"

    def close(self) -> None:
        """Remove what the examples have stored."""
        self._stack.close()

    def adapt(self, text: str) -> str:
        """Return code with the addresses of the servers of the tests."""
        for address, name in SERVERS.items():
            # Of two addresses of which one begins like the other, the longer comes first.
            if address in text:
                assert not address.startswith("redis") or PREFIX in text, "examples have a prefix"
                text = text.replace(address, self.address(name))
        return text.replace(PREFIX, f'prefix="{self.token}"')

    def address(self, name: str) -> str:
        """Return the URL of a place on a server, which is made now, and removed in the end."""
        if name not in self._addresses:
            url = getattr(self._servers, name)
            self._addresses[name] = getattr(self, f"_open_{name}")(url)
        return self._addresses[name]

    def _open_redis(self, url: str) -> str:
        import redis

        self._stack.callback(self._sweep, redis.Redis.from_url(url))
        return url

    def _open_cluster(self, url: str) -> str:
        return url  # those servers end with the session

    _open_sentinel = _open_cluster

    def _sweep(self, client: Any) -> None:
        for key in client.scan_iter(match=f"*{self.token}*", count=1000):
            client.delete(key)
        client.close()

    def _open_mongo(self, url: str) -> str:
        import pymongo

        client: Any = pymongo.MongoClient(url)
        self._stack.callback(client.close)
        self._stack.callback(client.drop_database, self.token)
        parts = urlsplit(url)
        return parts._replace(path=f"/{self.token}").geturl()

    _open_replica_set = _open_mongo

    def _open_sql(self, url: str) -> str:
        import sqlalchemy

        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {self.token}")
        self._stack.callback(engine.dispose)
        self._stack.callback(self._drop, engine)
        own = sqlalchemy.make_url(url).set(database=self.token)
        return own.render_as_string(hide_password=False)

    _open_postgresql = _open_mariadb = _open_sql

    def _drop(self, engine: Any) -> None:
        force = " WITH (FORCE)" if engine.dialect.name == "postgresql" else ""
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {self.token}{force}")

    def execute(self, statements: str) -> None:
        """Run statements on PostgreSQL."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(self.address("postgresql"))
        try:
            with engine.begin() as connection:
                for statement in filter(str.strip, statements.split(";\n")):
                    connection.exec_driver_sql(statement.rstrip().rstrip(";"))
        finally:
            engine.dispose()


@pytest.fixture
def stage(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Return a stage; files that examples make lie in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    stage = Stage(servers)
    yield stage
    stage.close()


def close_clients(namespace: dict[str, Any]) -> None:
    """Close the clients that examples have left open, as the end of their process would."""
    for value in namespace.values():
        if type(value).__module__.partition(".")[0] in ("redis", "valkey", "pymongo", "sqlalchemy"):
            for name in ("close", "dispose"):
                if callable(getattr(type(value), name, None)):
                    getattr(value, name)()


@pytest.mark.parametrize(("path", "chain"), list(chains()))
def test_python_blocks_run_and_print_what_they_say(
    path: Path, chain: list[Block], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    if any(mark in block.text for block in chain for mark in APART):
        run_in_a_process(chain, stage)
        return
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        for block in chain:
            if block.language == "sql":
                stage.execute(block.text)
                continue
            # Tracebacks show the lines of the document.
            code = "\n" * (block.line - 1) + stage.adapt(block.text)
            exec(compile(code, str(path), "exec"), namespace)
            printed = capsys.readouterr().out
            if block.output is not None:
                assert printed.rstrip() == block.output.rstrip(), f"{path.name}, line {block.line}"
            else:
                assert not printed, (
                    f"{path.name}, line {block.line}: say what is printed: {printed}"
                )
    finally:
        close_clients(namespace)


def run_in_a_process(chain: list[Block], stage: Stage) -> None:
    code = stage.adapt("\n".join(block.text for block in chain))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip() == "\n".join(block.output or "" for block in chain).rstrip()


@pytest.mark.parametrize("path", [*DOCUMENTS, *OTHERS], ids=lambda path: path.name)
def test_it_is_correct_and_its_links_lead_somewhere(path: Path) -> None:
    document = parse(path)
    for reference in document.tree.findall(nodes.reference):
        target = urlsplit(reference.get("refuri", ""))
        if not target.scheme and target.path:
            assert (path.parent / target.path).exists(), f"{path.name}: no {target.path}"
    known = {"python", "sql", "sh", "text", "ini"}
    for block in document.blocks:
        assert block.language in known or block.elsewhere, f"{path.name}, line {block.line}"
        assert max(map(len, block.text.splitlines())) <= 100, f"{path.name}, line {block.line}"


# --- shells --------------------------------------------------------------------------------------


def shell_lines() -> Iterator[Any]:
    """Yield every command of the blocks for a shell."""
    for path in DOCUMENTS:
        for block in parse(path).blocks:
            if block.language == "sh":
                for line in block.text.replace("\\\n", " ").splitlines():
                    command = line.partition(" #")[0].strip()
                    if command and not command.startswith("#"):
                        yield pytest.param(command, id=f"{path.name}: {command}")


def test_there_are_commands_to_begin_with() -> None:
    commands = [each.values[0] for each in shell_lines()]
    assert {"script/example", "script/test"} <= set(commands)


@pytest.mark.parametrize("command", list(shell_lines()))
def test_commands_exist_and_know_their_options(command: str) -> None:
    words = [word.strip("'\"") for word in command.split()]
    if words[0] == "watch":
        words = words[3:]
    checks: dict[str, Callable[[list[str]], None]] = {"pip": check_pip, "python": check_module}
    check = checks.get(words[0], check_program)
    check(words)


def check_pip(words: list[str]) -> None:
    assert words[1] == "install"
    for word in words[2:]:
        requirement = re.fullmatch(r"(kairos|\.)(\[([\w,]+)\])?", word)
        if requirement is None:
            assert word == "-r" or (ROOT / word).is_file(), word
            continue
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        for extra in filter(None, (requirement[3] or "").split(",")):
            assert re.search(rf'"{extra}"\]? ?[:=]', setup), f"there is no extra {extra}"


def check_module(words: list[str]) -> None:
    assert words[1] == "-m"
    assert find_spec(f"{words[2]}.__main__") or find_spec(words[2]), words[2]
    check_options([sys.executable, "-m", words[2]], words[3:])


def check_program(words: list[str]) -> None:
    program = ROOT / words[0]
    assert program.is_file(), words[0]
    assert os.access(program, os.X_OK), words[0]
    interpreter = program.read_text(encoding="utf-8").splitlines()[0]
    check_options([sys.executable, str(program)] if "python" in interpreter else [], words[1:])


def check_options(program: list[str], words: list[str]) -> None:
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    if program and options:
        done = subprocess.run(
            [*program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert set(options) <= set(re.findall(r"--[\w-]+", done.stdout))


# --- completeness ----------------------------------------------------------------------------------


def test_every_option_and_error_is_described() -> None:
    from kairos.mongo_backend import MongoBackend
    from kairos.redis_backend import RedisBackend
    from kairos.sql_backend import SqlBackend

    readme = DOCUMENTS[0].read_text(encoding="utf-8")
    names = {
        *("type", "intervals", "read_func", "write_func", "prefix", "client_config", "remember"),
        *("step", "steps", "resolution", "daily", "weekly", "monthly", "yearly"),
        *(option for each in (RedisBackend, MongoBackend, SqlBackend) for option in each._options),
        *("start", "end", "transform", "condense", "collapse", "fetch", "process_row"),
        *("join_rows", "pipeline=", "session=", "connection=", "id"),
    }
    for kind, value in vars(exceptions).items():
        if isinstance(value, type) and value.__module__ == exceptions.__name__:
            names.add(kind)
    missing = [name for name in sorted(names) if not re.search(f'``"?{name}', readme)]
    assert not missing
