"""Try the installed package in an environment that has nothing else.

usage: python -I tests/smoke.py bare|sql

``bare`` is for an environment without any driver, ``sql`` for one with the extra ``sql``.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

DRIVERS = ["redis", "valkey", "pymongo", "sqlalchemy"]
#: How many milliseconds the import may take beyond the start of the interpreter, and how often it is tried.
IMPORT_LIMIT = 30.0
TRIES = 25


def run_python(code: str) -> tuple[float, str]:
    """Run a new interpreter and return the milliseconds that it took, and all that it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return (time.perf_counter() - start) * 1000, done.stdout


def try_bare() -> None:
    """Check the import without drivers, and what the distribution holds."""
    present = [name for name in DRIVERS if find_spec(name)]
    assert not present, f"this environment is not empty: {present}"

    import kairos

    package = Path(kairos.__file__).parent
    assert package.parent.name == "site-packages", package
    assert (package / "py.typed").is_file(), "py.typed is missing"
    version = importlib.metadata.version("kairos")
    assert version == kairos.__version__, (version, kairos.__version__)

    for url in ("redis://localhost", "mongodb://localhost", "sqlite://"):
        try:
            kairos.Timeseries(url)
        except kairos.KairosException as error:
            assert isinstance(error, ImportError), repr(error)  # noqa: PT017 - there is no pytest here
        else:
            raise AssertionError(f"{url} worked without a driver")

    _, output = run_python("import kairos")
    assert output == "", f"the import prints {output!r}"
    # The fastest of many, interleaved: what is slower was disturbed by something else.
    bare, full = zip(
        *((run_python("pass")[0], run_python("import kairos")[0]) for _ in range(TRIES)),
        strict=True,
    )
    cost = min(full) - min(bare)
    assert cost < IMPORT_LIMIT, f"the import takes {cost:.1f} ms, more than {IMPORT_LIMIT:.0f}"
    print(f"kairos {version}: works without drivers; the import takes {cost:.1f} ms")


def try_sql() -> None:
    """Check that values inserted into a SQLite file are read back."""
    import kairos

    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/kairos.db"
        intervals: dict[str, dict[str, object]] = {
            "minute": {"step": 60},
            "hour": {"step": "1h", "resolution": 60},
        }
        series = kairos.Timeseries(url, type="histogram", intervals=intervals)
        for value in (1.5, 2.0, 2.0):
            series.insert("name", value, timestamp=7230)
        minute = series.get("name", "minute", timestamp=7230)
        assert dict(minute) == {7200: {1.5: 1, 2.0: 2}}, minute
        hour = series.get("name", "hour", timestamp=7230, condense=True, transform="count")
        assert dict(hour) == {7200: 3}, hour
    print("kairos on SQLite: what was inserted is read back")


if __name__ == "__main__":
    {"bare": try_bare, "sql": try_sql}[sys.argv[1]]()
