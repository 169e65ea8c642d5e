"""Show results: as text for a terminal, as JSON, and as the tables of the documentation."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from .harness import Figures, Quartiles, Result, Verdict

_PACKAGES: Final = (
    "kairos",
    "redis",
    "hiredis",
    "pymongo",
    "SQLAlchemy",
    "psycopg",
    "PyMySQL",
    "whisper",
    "rrdtool",
)

#: What begins and ends the part of the documentation that is written anew.
BEGIN: Final = ".. The tables below are written by ``python -m benchmarks``."
END: Final = ".. End of the tables."

#: Titles of the stores, in the order in which the documentation has them.
_STORES: Final = {
    "redis": "Redis",
    "mongo": "MongoDB",
    "sqlite": "SQLite, a file in WAL mode",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "engine": "The engine alone",
    "process": "The process",
}
_LAYERS: Final = ("engine", "backend", "client library", "store")


def _number(value: float) -> str:
    """Return a figure with three digits, or as many as it has before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _spread(ratio: Quartiles) -> str:
    return f"{_number(ratio.median)} ({_number(ratio.low)} to {_number(ratio.high)})"


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{count:,.0f} {what}" for what, count in counts.items())


def describe(verdict: Verdict, unit: str) -> str:
    """Return a target and what was reached, in a few words."""
    target, against, reached, met = verdict
    clock = " of processor time" if target.clock == "cpu" else ""
    if against is None:
        text = f"at most {_number(target.limit)} {unit}{clock}: {_number(reached)}"
    else:
        name = against.contender.key
        if target.limit < 1:
            text = f"{_number(1 / target.limit)} times as fast as {name}: {_number(1 / reached)}"
        else:
            text = f"at most {_number(target.limit)} times {name}'s time: {_number(reached)}"
    return f"{'met   ' if met else 'MISSED'} {text}"


def lines(result: Result) -> Iterator[str]:
    """Yield what a terminal shows of a job."""
    job, kairos = result.job, result.kairos
    yield f"{job.name}  [{job.unit}, {len(kairos.samples)} rounds]"
    for figures in result.figures.values():
        yield f"  {_line(figures, result)}"
    for verdict in result.verdicts():
        yield f"  {describe(verdict, job.unit)}"


def _line(figures: Figures, result: Result) -> str:
    wall, scale = figures.wall, result.scale
    text = f"{figures.contender.key:15}{_number(wall.median * scale):>9}"
    text += f"  {_number(wall.low * scale)} to {_number(wall.high * scale)}".ljust(19)
    text += f" cpu {_number(figures.cpu.median * scale):<8}"
    if figures.contender.role == "kairos":
        text += " " * 33
    else:
        text += f" kairos / it {_spread(result.kairos.ratio(figures))}".ljust(33)
    return f"{text} {_counts(figures.counts)}".rstrip()


# --- JSON ------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """Return all figures, in seconds and megabytes."""
    return json.dumps({**about, "jobs": [_job(result) for result in results]}, indent=1) + "\n"


def _job(result: Result) -> dict[str, Any]:
    return {
        "name": result.job.name,
        "unit": result.job.unit,
        "scale": result.scale,
        "contenders": [
            {
                "key": each.contender.key,
                "what": each.contender.what,
                "role": each.contender.role,
                "wall": list(each.wall),
                "cpu": list(each.cpu),
                "kairos, of its time": list(result.kairos.ratio(each)),
                "kairos, of its processor time": list(result.kairos.ratio(each, "cpu")),
                "rounds": len(each.samples),
                "counts": dict(each.counts),
            }
            for each in result.figures.values()
        ],
        "targets": [
            {"text": describe(verdict, result.job.unit)[7:], "met": verdict.met}
            for verdict in result.verdicts()
        ],
        "profile": result.profile._asdict() if result.profile else None,
    }


# --- documentation ---------------------------------------------------------------------------------------


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table of reStructuredText."""
    yield f".. list-table:: {title}"
    yield "   :header-rows: 1"
    yield ""
    for row in (header, *rows):
        for index, cell in enumerate(row):
            yield f"   {'*' if index == 0 else ' '} - {cell}".rstrip()
    yield ""


def tables(results: Sequence[Result], about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the part of the documentation that has the figures."""
    its = about["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in its["packages"].items())
    servers = ", ".join(about["servers"])
    yield (
        f"{about['date']}; {its['processor']}, {its['cores']} cores; {its['system']}; Python "
        f"{its['python']}; {packages}; {servers}. {about['settings']['rounds']} rounds."
    )
    yield ""
    for store, title in _STORES.items():
        own = [result for result in results if result.job.name.startswith(f"{store}/")]
        if own:
            yield from _table(title, _HEADER, [_row(result) for result in own])
    targets = [
        (
            f"``{result.job.name}``",
            describe(verdict, result.job.unit)[7:],
            "yes" if verdict.met else "no",
        )
        for result in results
        for verdict in result.verdicts()
    ]
    if targets:
        yield from _table("Targets", ("job", "target, and what was reached", "met"), targets)
    profiles = [_profile_row(result) for result in results if result.profile]
    if profiles:
        header = ("job", *_LAYERS, "most time in")
        yield from _table("Where the time of kairos goes", header, profiles)


_HEADER: Final = (
    "job",
    "unit",
    "kairos",
    "best by hand",
    "kairos / by hand",
    "original / kairos",
    "instead",
    "round trips, commands",
)


def _row(result: Result) -> list[str]:
    kairos, optimum = result.kairos, result.optimum
    original = result.opponent("original")
    instead = [each for each in result.figures.values() if each.contender.role == "instead"]
    row = [f"``{result.job.name.partition('/')[2]}``", result.job.unit]
    row.append(_number(kairos.wall.median * result.scale))
    row.append(
        f"{_number(optimum.wall.median * result.scale)}, {optimum.contender.key}" if optimum else ""
    )
    row.append(_spread(kairos.ratio(optimum)) if optimum else "")
    row.append(f"{_number(1 / kairos.ratio(original).median)}" if original else "")
    row.append(
        ", ".join(
            f"{each.contender.key} {_number(each.wall.median * result.scale)}" for each in instead
        )
    )
    row.append(_counts(kairos.counts))
    return row


def _profile_row(result: Result) -> list[str]:
    assert result.profile is not None
    layers, functions = result.profile
    top = [f"``{name}`` {share:.0%}" for name, share in list(functions.items())[:3]]
    return [
        f"``{result.job.name}``",
        *(f"{layers.get(layer, 0):.0%}" for layer in _LAYERS),
        ", ".join(top),
    ]


def write_into(page: Path, text: Sequence[str]) -> None:
    """Replace the tables of a page."""
    before, found, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (found and end):
        raise ValueError(f"{page} has no place for the tables")
    body = "\n".join(line.rstrip() for line in text).strip("\n")
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")
