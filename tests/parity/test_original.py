"""The original itself beside kairos, on one store: each reads what the other wrote.

This needs an interpreter of Python 2.7 in which ``import kairos`` is the original (0.10.1), with the
drivers of its time. The environment variable ``KAIROS_ORIGINAL_PYTHON`` has its path; without it these
tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from kairos import Timeseries
from tests.contract import oracle
from tests.contract.store import Store

PYTHON = os.environ.get("KAIROS_ORIGINAL_PYTHON")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="KAIROS_ORIGINAL_PYTHON names no interpreter with the original"
)

#: What runs under Python 2: it takes calls as JSON and prints what they return.
SCRIPT = Path(__file__).with_name("original.py2")

INTERVALS: dict[str, dict[str, Any]] = {
    "minute": {"step": 60},
    "hour": {"step": 3600, "resolution": 60},
    "day": {"step": "daily", "resolution": "1h"},
    "month": {"step": "monthly"},
    "year": {"step": "yearly", "resolution": "monthly"},
}
T = 1362486840
INSERTS: list[tuple[str, float, int]] = [
    ("a", 3, T),
    ("a", 2.5, T + 1),
    ("b.c", 3, T + 61),
    ("a", 4, T + 3600),
    ("b.c", 10.25, T + 86400 * 40),
]
#: The original's counts on SQL are whole, and so are all of them here.
COUNTS: list[tuple[str, float, int]] = [
    ("a", 3, T),
    ("a", 5, T + 1),
    ("b.c", -2, T + 61),
    ("a", 4, T + 86400),
]
TYPES = ["series", "histogram", "count", "gauge", "set"]


def original(request: dict[str, Any]) -> list[Any]:
    """Run calls on the original and return what they gave."""
    assert PYTHON is not None
    environment = {**os.environ, "TZ": "UTC"}
    # Empty, it would be the current folder to Python 2, and this kairos its kairos.
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [PYTHON, str(SCRIPT)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def decoded(value: Any) -> Any:
    """Return an answer of the original as Python objects."""
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "set":
            return set(map(decoded, content))
        return OrderedDict((decoded(key), decoded(row)) for key, row in content)
    return [decoded(each) for each in value] if isinstance(value, list) else value


def as_float(kind: str) -> str | None:
    """Return the name of the ``read_func``: counts are numbers already."""
    return None if kind == "count" else "float"


class Place:
    """Say where both libraries find the same data."""

    def __init__(self, store: Store, kind: str) -> None:
        self.kind = kind
        self.inserts = COUNTS if kind == "count" else INSERTS
        self.request: dict[str, Any] = {
            "type": kind,
            "intervals": INTERVALS,
            "read_func": as_float(kind),
        }
        self.options: dict[str, Any] = {"type": kind, "intervals": INTERVALS}
        if kind != "count":
            self.options["read_func"] = float
        if store.kind == "redis":
            prefix = store.backend.location(kind)
            self.request.update(redis=store.backend.url, prefix=prefix)
            self.options["prefix"] = prefix
            self.client = store.client
        else:
            self.request.update(sqlite=store.client.url.database)
            self.client = store.client

    def ours(self) -> Any:
        """Return a series of kairos."""
        return Timeseries(self.client, **self.options)

    def calls(self) -> list[Any]:
        """Return reads of all intervals, as [method, args, keywords]."""
        found: list[Any] = []
        for name in ("a", "b.c", "none", ["a", "b.c"]):
            for interval in INTERVALS:
                for at in (T, T + 3600):
                    found.append(["get", [name, interval], {"timestamp": at}])
                found.append(["get", [name, interval], {"timestamp": T, "condense": True}])
        for name in ("a", "b.c"):
            found.append(["properties", [name], {}])
            for interval in ("minute", "month"):
                found.append(["series", [name, interval], {"start": T, "steps": 3}])
            found.append(["series", [name, "hour"], {"start": T, "steps": 2, "condense": True}])
        found.append(["list", [], {}])
        return found

    def write(self, series: Any) -> None:
        """Insert with kairos."""
        for name, value, timestamp in self.inserts:
            series.insert(name, value, timestamp=timestamp)

    def writes(self) -> list[Any]:
        """Return the same inserts as calls of the original."""
        return [
            ["insert", [name, value], {"timestamp": timestamp}]
            for name, value, timestamp in self.inserts
        ]


def check(theirs: list[Any], calls: list[Any], series: Any, model: oracle.Model) -> None:
    """Compare the answers of both libraries with those of a model, as far as the original has any."""
    compared = 0
    for call, answer in zip(calls, theirs, strict=True):
        method, args, keywords = call
        if method == "list":
            # The original's own is not exact.
            names = sorted({name for table in model.rows.values() for name in table})
            assert series.list() == names
            continue
        expected = getattr(model, method)(*args, **keywords)
        assert getattr(series, method)(*args, **keywords) == expected, call
        if isinstance(answer, dict) and "error" in answer:
            continue
        answer = decoded(answer)
        if method != "properties":
            # On SQL it leaves out what is empty, or gives 0 for it.
            answer = {at: row for at, row in answer.items() if row}
            expected = {at: row for at, row in expected.items() if row}
        assert answer == expected, call
        compared += 1
    assert compared > len(calls) // 2


@pytest.mark.backends("redis", "sqlite")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("first", ["original", "kairos"])
def test_both_on_one_store(store: Store, kind: str, first: str) -> None:
    if store.name not in ("redis", "sqlite"):
        pytest.skip("where the original can go")
    if store.kind == "sql" and kind == "set":
        pytest.skip("the original had no sets on SQL")
    place = Place(store, kind)
    model = oracle.Model(kind, INTERVALS, float if kind != "count" else int)

    def note() -> None:
        for insert in place.inserts:
            model.insert(*insert)

    calls = place.calls()
    if first == "original":
        answers = original({**place.request, "calls": place.writes() + calls})[len(place.inserts) :]
        note()
        check(answers, calls, place.ours(), model)
    place.write(place.ours())
    note()
    answers = original({**place.request, "calls": calls})
    check(answers, calls, place.ours(), model)
    # And on: the original adds to what kairos wrote.
    answers = original({**place.request, "calls": place.writes() + calls})[len(place.inserts) :]
    note()
    check(answers, calls, place.ours(), model)
    ours = place.ours()
    original({**place.request, "calls": [["delete", ["a"], {}]]})
    assert ours.list() == ["b.c"]
    assert ours.delete("b.c") > 0
    (answer,) = original({**place.request, "calls": [["get", ["b.c", "month"], {"timestamp": T}]]})
    assert "error" in answer or not any(decoded(answer).values())
