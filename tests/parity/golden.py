"""The recorded storage and answers of the original library, and where its answers were wrong.

``data/*.json`` hold one case per line: a configuration, the inserts, what lay in the store afterwards, and
what the original's reads returned. :func:`corrected` is the whole list of answers that we give differently.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.contract import oracle

DATA = Path(__file__).with_name("data")

#: What the clock shows where a case does not say: after all of its timestamps.
LATER = 1_700_000_000


@dataclass(frozen=True)
class Case:
    """One recorded case."""

    id: str
    version: str
    backend: str
    type: str
    config: Mapping[str, Any]
    frozen_now: int | None
    stored: Any
    reads: list[dict[str, Any]]
    inserts: list[dict[str, Any]] = field(default_factory=list)
    bulk_insert: list[Any] = field(default_factory=list)

    @property
    def intervals(self) -> dict[str, dict[str, Any]]:
        """Return a copy of the configuration of the intervals."""
        return {name: dict(config) for name, config in self.config["intervals"].items()}

    @property
    def options(self) -> dict[str, Any]:
        """Return a copy of the further arguments of the constructor."""
        return dict(self.config["kwargs"])

    def model(self) -> oracle.Model:
        """Return a model of the series that all recorded inserts went into."""
        view: Callable[[Any], Any] = as_it_is
        if self.backend == "redis" or (self.backend == "mongo" and self.type == "histogram"):
            view = str
        elif self.backend == "sqlite":
            view = str if self.options.get("value_type") == "string" else float
        model = oracle.Model(self.type, self.intervals, view if self.type != "count" else as_it_is)
        self.note(model)
        return model

    def note(self, model: oracle.Model) -> None:
        """Note the recorded inserts in a model."""
        for insert in self.inserts:
            model.insert(**insert)
        for timestamp, names in self.bulk_insert:
            for name, values in names:
                model.insert(name, values, timestamp)

    @property
    def now(self) -> int:
        """Return the time at which the case was recorded."""
        return self.frozen_now or LATER


def as_it_is(value: Any) -> Any:
    """Return a value unchanged."""
    return value


@cache
def load(backend: str) -> tuple[Case, ...]:
    """Return all cases of a backend."""
    known = Case.__dataclass_fields__
    recorded = json.loads((DATA / f"{backend}.json").read_text("utf-8"))
    for each in recorded:
        assert set(each) <= set(known), set(each) - set(known)
    return tuple(Case(**each) for each in recorded)


def cases(backend: str, written_by: str | None = None) -> list[Any]:
    """Return the cases of a backend as parameters, of one version of the original or of all."""
    return [
        pytest.param(case, id=case.id.replace(f"{backend}/", ""))
        for case in load(backend)
        if written_by in (None, case.version)
    ]


def decode(result: Any) -> Any:
    """Return a recorded answer as Python objects; iterate's as a list of pairs."""
    if isinstance(result, dict):
        ((kind, content),) = result.items()
        if kind == "set":
            return set(map(decode, content))
        assert kind in ("odict", "dict"), kind
        return OrderedDict((decode(key), decode(value)) for key, value in content)
    if isinstance(result, list):
        return [decode(each) for each in result]
    return result


def reads(case: Case) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], Any]]:
    """Yield (call, arguments, keywords, corrected answer) of a case."""
    for read in case.reads:
        args, kwargs = tuple(read["args"]), dict(read["kwargs"])
        answer = corrected(case, read["call"], args, kwargs, decode(read["result"]))
        yield read["call"], args, kwargs, answer


# --- where the original was wrong --------------------------------------------------------------------


def corrected(
    case: Case, call: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any
) -> Any:
    """Return the answer that we give to a recorded call: the original's, but for the rules below."""
    if call == "list":
        return sorted(answer)
    interval = args[1] if len(args) > 1 else next(iter(case.intervals))
    step = oracle.parse(case.intervals[interval]["step"])
    resolution = oracle.parse(case.intervals[interval].get("resolution", step))
    if call == "properties":
        if step == "weekly":
            answer = {name: _map_values(ends, true_week) for name, ends in answer.items()}
        return answer
    flat = step == resolution or kwargs.get("condense") or kwargs.get("collapse")
    rows = OrderedDict(answer) if call == "iterate" else answer
    # Timestamps of weekly intervals are the true first second of the bucket.
    if step == "weekly":
        rows = OrderedDict((true_week(at), row) for at, row in rows.items())
    # The text that 0.10.1 stored for a float in Mongo, and whatever looks like it, reads as the float.
    if case.backend == "mongo" and case.version == "0.10.1":
        rows = OrderedDict((at, unescaped(row, case.type)) for at, row in rows.items())
    # 0.6.3 did not find the data of Gregorian intervals on SQL when it was asked for a series of them.
    if (case.backend, case.version, call) == ("sqlite", "0.6.3", "series") and isinstance(
        step, str
    ):
        return case.model().series(*args, **kwargs)
    # An interval without data reads alike everywhere: the type's empty value, or no resolutions at all.
    empty: Callable[[], Any] = oracle.EMPTY[case.type] if flat else OrderedDict
    if call == "series" or flat:
        rows = OrderedDict((at, row or empty()) for at, row in rows.items())
    # A series lists every interval in range, also on SQL.
    if call == "series" and case.backend == "sqlite" and not kwargs.get("collapse"):
        model = oracle.Model(case.type, case.intervals)
        listed = model.range(interval, kwargs.get("start"), kwargs.get("end"), kwargs.get("steps"))
        assert set(rows) <= set(listed)
        rows = OrderedDict((at, rows.get(at, empty())) for at in listed)
    return list(rows.items()) if call == "iterate" else rows


def true_week(timestamp: int) -> int:
    """Return the start of the week that a timestamp of the original stands for."""
    return oracle.start_of("weekly", timestamp)


def unescaped(value: Any, kind: str) -> Any:
    """Return what a value was before the original escaped it for Mongo."""
    if isinstance(value, list):
        return [unescaped(each, kind) for each in value]
    if isinstance(value, OrderedDict):
        return OrderedDict(
            (unescaped(key, "key"), unescaped(row, kind)) for key, row in value.items()
        )
    if not isinstance(value, str):
        return value
    text = value.replace("\uffff", ".")
    if "." not in text or kind in ("key", "histogram"):
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _map_values(mapping: Mapping[Any, Any], function: Callable[[Any], Any]) -> dict[Any, Any]:
    return {key: function(value) for key, value in mapping.items()}
