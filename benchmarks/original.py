"""Talk to the original kairos in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .harness import Sample

_WORKER: Final = Path(__file__).with_name("original_worker.py")

#: The drivers of Python 2 for the same servers.
_DRIVERS: Final = {"psycopg": "psycopg2", "pymysql": "pymysql"}


class OriginalFailed(Exception):
    """Tell that the original could not do what it was asked for: for want of a driver, mostly."""


class Original:
    """Run the original in a subprocess, for as long as this is open.

    :param python: an interpreter in which ``import kairos`` gives the original.
    """

    def __init__(self, python: str) -> None:
        # Elsewhere than here, where ``import kairos`` would find the one that is measured.
        self._process = subprocess.Popen(
            [python, str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_WORKER.anchor,
            text=True,
        )
        try:
            self.version: str = self.ask("version")
        except OriginalFailed:
            self.close()
            raise OriginalFailed(f"{python} has no kairos") from None

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a request and return the answer.

        :raises OriginalFailed: with the other side's traceback.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise OriginalFailed(f"it has ended: {error}") from error
        if not line:
            raise OriginalFailed("it has ended")
        reply = json.loads(line)
        if "error" in reply:
            raise OriginalFailed(reply["error"])
        return reply["value"]

    def close(self) -> None:
        """End the subprocess."""
        self._process.kill()
        self._process.communicate()

    def open(
        self,
        key: str,
        url: str,
        type: str,
        intervals: Mapping[str, Any],
        read_func: str | None = None,
        prefix: str = "",
        wal: bool = False,
        **options: Any,
    ) -> None:
        """Make a series under a key of the caller's choice.

        :param read_func: the name of one.
        :param wal: whether a SQLite file is to be opened as the others open theirs.
        """
        for ours, its in _DRIVERS.items():
            url = url.replace(f"+{ours}:", f"+{its}:")
        self.ask(
            "open",
            key=key,
            url=url,
            type=type,
            intervals=intervals,
            read_func=read_func,
            prefix=prefix,
            wal=wal,
            **options,
        )


class Remote:
    """Measure an operation of the original.

    :param request: what ``operation`` of the worker takes.
    :param named: whether each turn is to have a name of its own.
    :param single: see :class:`benchmarks.harness.Local`.
    :ivar before: is called before every turn.
    """

    def __init__(
        self, original: Original, named: bool = False, single: bool = False, **request: Any
    ) -> None:
        self.single = single
        self.before: Callable[[], object] = lambda: None
        self._original = original
        self._named = named
        self._request = request

    def prepare(self, turn: int) -> None:
        self.before()
        request = dict(self._request)
        if self._named:
            request["name"] = f"{request['name']}{turn}"
        self._original.ask("prepare", **request)

    def measure(self, times: int) -> Sample:
        return Sample(*self._original.ask("measure", times=times))

    def once(self) -> Any:
        """Run the operation, and return what it returns, mappings as lists of pairs."""
        return self._original.ask("answer")
