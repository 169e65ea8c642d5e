"""What a user might take instead: files of a fixed size, as Graphite and RRDtool keep them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from . import workload
from .harness import Contender, local

if TYPE_CHECKING:
    from .bench import Bench

#: A file holds two days of minutes, and a year of hours.
_ARCHIVES = [(60, 2880), (3600, 8760)]


def files(bench: Bench) -> Iterator[Contender]:
    """Yield an update of one value in one local file, for each of the two that is installed."""
    if find_spec("whisper"):
        whisper = import_module("whisper")
        yield Contender(
            "whisper",
            "whisper.update of one local file",
            "instead",
            local(partial(whisper.update, _whisper_file(bench, whisper), 1.5)),
        )
    if find_spec("rrdtool"):
        rrdtool = import_module("rrdtool")
        path = str(bench.folder / "instead.rrd")
        archives = [f"RRA:AVERAGE:0.5:{step // 60}:{rows}" for step, rows in _ARCHIVES]
        rrdtool.create(path, "--step", "60", "DS:value:GAUGE:120:U:U", *archives)
        yield Contender(
            "rrdtool",
            "rrdtool.update of one local file",
            "instead",
            local(partial(rrdtool.update, path, "N:1.5")),
        )


def whole_files(bench: Bench) -> Iterator[Contender]:
    """Yield an update of 10,000 values in one local file."""
    if find_spec("whisper"):
        whisper = import_module("whisper")
        path = _whisper_file(bench, whisper)
        points = [
            (moment, value)
            for moment, names in workload.bulk("count", 1).items()
            for values in names.values()
            for value in values
        ]
        yield Contender(
            "whisper",
            "whisper.update_many of one local file, which keeps the last value of a minute",
            "instead",
            local(partial(whisper.update_many, path, points)),
            workload.BULK,
        )


def _whisper_file(bench: Bench, whisper: Any) -> str:
    path = bench.folder / "instead.wsp"
    if not path.exists():
        whisper.create(str(path), _ARCHIVES, xFilesFactor=0, aggregationMethod="sum")
    return str(path)
