"""Share what the programs here need: an environment, a terminal, a store, quiet ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

ROOT: Final = Path(__file__).resolve().parent.parent
VENV_PYTHON: Final = Path(os.environ.get("KAIROS_VENV") or ROOT / ".venv") / "bin" / "python"


def _go_on(extras: Sequence[str], environment: str) -> NoReturn:
    """Start the program again, from its beginning, in the repository's own environment.

    :param environment: what the variable ``KAIROS_BOOTSTRAPPED`` will hold.
    """
    done = subprocess.run(
        [str(ROOT / "script" / "bootstrap"), *extras], stdout=sys.stderr.fileno(), check=False
    )
    if done.returncode:
        sys.exit(f"{Path(sys.argv[0]).name}: script/bootstrap failed; what it printed says why")
    os.environ["KAIROS_BOOTSTRAPPED"] = environment
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])


if sys.version_info < (3, 10):  # noqa: UP036 - bootstrap finds one that will do
    _go_on(["sql"], "python")

sys.path.insert(0, str(ROOT))

from kairos import KairosException, Timeseries  # noqa: E402 - the line above finds it
from kairos.registry import hide_password as hide_password  # noqa: E402

#: What a URL's scheme, whole or up to the '+', needs: the modules, and the extra that brings them.
_NEEDS: Final[dict[str, tuple[list[str], str]]] = {
    "redis": (["redis"], "redis"),
    "valkey": (["valkey"], "valkey"),
    "mongo": (["pymongo"], "mongo"),
    "sql": (["sqlalchemy"], "sql"),
    "postgresql+psycopg": (["sqlalchemy", "psycopg"], "postgresql"),
    "mysql+pymysql": (["sqlalchemy", "pymysql"], "mysql"),
    "mariadb+pymysql": (["sqlalchemy", "pymysql"], "mysql"),
}

#: How long a server that does not answer is waited for, as each driver has it, in its own unit.
_PATIENCE: Final[dict[str, dict[str, Any]]] = {
    "redis": {"socket_connect_timeout": 5},
    "mongo": {"serverSelectionTimeoutMS": 5000},
    "postgresql+psycopg": {"connect_args": {"connect_timeout": 5}},
    "mysql+pymysql": {"connect_args": {"connect_timeout": 5}},
    "mariadb+pymysql": {"connect_args": {"connect_timeout": 5}},
}

#: Packages whose errors tell of a server or of its data, and not of a mistake in these programs.
_DRIVERS: Final = ("redis", "valkey", "pymongo", "sqlalchemy", "psycopg", "pymysql", "sqlite3")


class Failure(Exception):
    """Tell the user in one line why the program cannot go on."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


# --- the environment -----------------------------------------------------------------------------


def need(modules: Sequence[str], extras: Sequence[str]) -> None:
    """Go on in the repository's own environment when this interpreter lacks a module.

    The environment is made, or completed, by ``script/bootstrap``, whose output goes to standard
    error; then the program starts again from its beginning, under ``.venv/bin/python``.

    :param modules: what has to be importable.
    :param extras: what ``script/bootstrap`` is to install, as it takes it.
    :raises Failure: when the modules are missing there, too.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return
    names = " ".join(modules)
    if os.environ.get("KAIROS_BOOTSTRAPPED") == names:
        raise Failure(
            f"{missing[0]} cannot be imported; try: {VENV_PYTHON} -m pip install {missing[0]}"
        )
    _go_on(extras, names)


# --- the terminal --------------------------------------------------------------------------------


def _takes_unicode(stream: TextIO) -> bool:
    """Tell whether block characters reach the reader: stream and locale must say so."""
    names = [os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if names[1] == "C.UTF-8" and names[2] in ("", "C", "POSIX"):
        # Python itself puts this into the environment of a C locale.
        names[1] = ""
    locale = next(filter(None, names), "C").lower()
    encoding = (stream.encoding or "").lower()
    return "utf" in encoding and ("utf-8" in locale or "utf8" in locale)


def columns(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Return each row as a line, with columns that all rows share.

    :param left: how many columns begin at their left; the others end at their right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


class Console:
    """Write lines that fit the terminal, or plain text where there is none.

    :ivar width: the columns that a line may have.
    :ivar height: the lines of the screen, None where output may be of any length.
    :ivar written: the lines that were written so far.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream = stream or sys.stdout
        self.terminal = stream.isatty()
        size = shutil.get_terminal_size()
        self.width = max(20, size.columns)
        self.written = 0
        # A program such as watch hands the size of its screen on in the environment.
        self.height = size.lines if self.terminal or os.environ.get("LINES") else None
        mute = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._plain = mute or not self.terminal
        self._blocks = " ▏▎▍▌▋▊▉█" if _takes_unicode(stream) else ""

    def style(self, text: str, code: str) -> str:
        """Return a text in a style, where there is a terminal that has it."""
        return text if self._plain else f"\033[{code}m{text}\033[0m"

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line; what does not fit is cut, and three dots say so."""
        if len(text) > self.width:
            text = text[: self.width - 3] + "..."
        self._write(self.style(text, style) if style else text)

    def paragraph(self, text: str, style: str = "", indent: str = "") -> None:
        """Write a text on as many lines as it takes."""
        import textwrap

        for line in textwrap.wrap(
            text, self.width, subsequent_indent=indent, break_on_hyphens=False
        ):
            self.line(line, style)

    def bar(self, share: float, width: int) -> str:
        """Return a bar that fills a share, from 0 to 1, of a width, padded to that width."""
        share = min(max(share, 0.0), 1.0)
        if not self._blocks:
            length = round(share * width)
            return ("#" * (length if length or not share else 1)).ljust(width)
        eighths = round(share * width * 8)
        full, rest = divmod(eighths if eighths or not share else 1, 8)
        return (self._blocks[8] * full + self._blocks[rest] * bool(rest)).ljust(width)

    def chart(self, rows: Sequence[tuple[str, float | None, str]]) -> None:
        """Draw a bar for each row, all to one scale.

        :param rows: (label, value, note); the value None is that of a row of headings, one below 0
            has no bar. Notes are left out where the screen is too narrow for them.
        """
        labels = max((len(label) for label, _, _ in rows), default=0)
        notes = max((len(note) for _, _, note in rows), default=0)
        if self.width - labels - notes < 14:
            rows, notes = [(label, value, "") for label, value, _ in rows], 0
        width = min(60, self.width - labels - notes - 2)
        top = max((value for _, value, _ in rows if value is not None), default=0)
        for label, value, note in rows:
            if width < 1:
                self.line(label)
                continue
            bar = " " * width
            if value is not None and top > 0:
                bar = self.style(self.bar(value / top, width), "36")
            self._write(f"{label.ljust(labels)} {bar} {note.rjust(notes)}".rstrip())

    def progress(self, share: float, text: str) -> None:
        """Draw a progress bar over the present line of a terminal; elsewhere, do nothing."""
        if not self.terminal:
            return
        width = max(0, min(40, self.width - len(text) - 5))
        bar = self.bar(share, width).replace(" ", "·" if self._blocks else "-")
        line = f"[{bar}] {text}" if width else text[: self.width - 1]
        self._stream.write(f"\r{line}\033[K")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the progress bar."""
        if self.terminal:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self.written += 1
        # A name may hold characters that the terminal's encoding lacks.
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


# --- the store -----------------------------------------------------------------------------------


def kind_of(url: str) -> str:
    """Return the kind of store that a URL names: ``redis``, ``mongo`` or ``sql``.

    :raises Failure: when it is no URL.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise Failure(
            f"{url!r} is not a URL; try redis://localhost, mongodb://localhost, sqlite:///FILE, "
            "postgresql+psycopg://user@host/database or mysql+pymysql://user@host/database",
            2,
        )
    if scheme.startswith(("redis", "valkey", "unix")):
        return "redis"
    return "mongo" if scheme.startswith("mongodb") else "sql"


def need_driver(url: str) -> None:
    """Go on where the driver for a URL can be imported; see :func:`need`."""
    kind = kind_of(url)
    scheme = url.partition("://")[0]
    if scheme.startswith("valkey"):
        kind = "valkey"
    modules, extra = _NEEDS.get(scheme, _NEEDS[kind])
    need(modules, [extra])


def namespace(url: str, name: str) -> dict[str, Any]:
    """Return the option that keeps a series apart from all others in a store."""
    words = name.replace("-", "_")
    options: dict[str, dict[str, Any]] = {
        "redis": {"prefix": name},
        "mongo": {"collection_prefix": f"{words}_"},
        "sql": {"table_name": words},
    }
    return options[kind_of(url)]


def open_series(url: str, name: str, **options: Any) -> Timeseries:
    """Return a series that has a part of the store to itself.

    :param name: of that part: a prefix in Redis, of the collections in MongoDB, a table in SQL.
    :param options: of :class:`kairos.Timeseries`.
    """
    scheme = url.partition("://")[0]
    config = _PATIENCE.get(scheme, _PATIENCE.get(kind_of(url), {}))
    return Timeseries(url, client_config=config, **namespace(url, name), **options)


# --- quiet ends ----------------------------------------------------------------------------------


def explain(error: BaseException) -> str | None:
    """Return one line for an error of the user's or the server's, None for one that is ours."""
    packages = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    if not isinstance(error, (KairosException, OSError)) and packages.isdisjoint(_DRIVERS):
        return None
    # SQLAlchemy wraps what the driver said into several lines of its own.
    told: object = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    first = lines[0] if lines else type(told).__name__
    # pymongo adds the state of every server that it knows.
    first = first.partition(", Timeout:")[0].partition(" (configured timeouts:")[0]
    return hide_password(first if len(first) <= 300 else first[:297] + "...")


def run(main: Callable[[], int]) -> NoReturn:
    """Run a program and exit with its status; expected errors are one line, not a traceback.

    Ctrl-C ends with 130 and a reader that has gone with 141, as the shell counts signals, both
    without a word; what the user or a server got wrong ends with 1, or with 2 for the command line.
    """
    try:
        status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Failure as error:
        status = _complain(str(error), error.status)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        status = _complain(line, 2 if isinstance(error, ImportError) else 1)
    sys.exit(status)


def _complain(message: str, status: int) -> int:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    return status
