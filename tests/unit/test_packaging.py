"""What an application notices of the package before it calls anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import kairos

ROOT = Path(__file__).parents[2]
DRIVERS = {"redis", "valkey", "pymongo", "sqlalchemy"}


def run_python(code: str) -> str:
    """Return what a new interpreter prints, to either stream."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_import_loads_no_driver_and_prints_nothing() -> None:
    loaded = run_python("import sys, kairos; print(*sys.modules)").splitlines()
    assert len(loaded) == 1
    assert not DRIVERS & set(loaded[0].split())


def test_every_public_module_can_be_imported_without_a_driver() -> None:
    modules = "kairos, kairos.exceptions, kairos.timeseries, kairos.intervals, kairos.pipeline"
    assert not DRIVERS & set(run_python(f"import sys, {modules}; print(*sys.modules)").split())


def test_the_changelog_tells_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(kairos.__version__)} \(", changelog, re.MULTILINE)


def test_the_package_is_typed() -> None:
    assert (Path(kairos.__file__).parent / "py.typed").read_bytes() == b""


def test_every_module_is_packaged() -> None:
    """setup.py names the packages, so a new one would be left out."""
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "kairos").rglob("*.py")}
    assert packages == {Path("kairos")}
