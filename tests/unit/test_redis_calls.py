"""The calls of the write script: what is prepared once is, byte for byte, what is built anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

import kairos
from kairos import redis_backend

#: 2015-03-05 13:20:00 UTC.
NOW = 1_425_561_600
INTERVALS = {
    "minute": {"step": 60, "steps": 120},
    "100% of %b": {"step": 3600, "steps": 48, "resolution": 60},
    "daily": {"step": "daily", "resolution": "1h"},
}

#: What no part of a key may contain.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "series": st.floats(allow_nan=False) | TEXT,
    "histogram": st.integers() | TEXT,
    "count": st.integers(-(2**62), 2**62) | st.floats(-1e9, 1e9),
    "gauge": st.binary(max_size=300) | TEXT,
    "set": TEXT,
}


class Recorder:
    """Take the place of a server that applies everything."""

    def __init__(self) -> None:
        self.packed: list[bytes] = []

    def exchange(self, packed: bytes, count: int, repeatable: bool) -> list[Any]:
        assert count == 1
        assert not repeatable
        self.packed.append(packed)
        return [1]

    def execute(
        self, commands: Sequence[tuple[bytes, ...]], keys: Sequence[bytes], repeatable: bool
    ) -> list[Any]:
        return [self.exchange(redis_backend.pack(each), 1, repeatable)[0] for each in commands]


def recorded(kind: str, prefix: str = "") -> tuple[Any, Recorder]:
    """Return a series that has found out that its server runs scripts, and what it sends."""
    series: Any = kairos.Timeseries(redis.Redis(), type=kind, intervals=INTERVALS, prefix=prefix)
    recorder = series._server = series._wire = Recorder()
    series._scripting = True
    return series, recorder


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_a_prepared_call_is_the_one_that_is_built(kind: str, data: st.DataObject) -> None:
    series, recorder = recorded(kind, data.draw(TEXT, "prefix"))
    for _ in range(3):
        name = data.draw(TEXT.filter(bool), "name")
        value = data.draw(VALUES[kind] | st.lists(VALUES[kind], max_size=6), "value")
        timestamp = data.draw(st.integers(NOW - 10**6, NOW + 10**5), "timestamp")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time", lambda: NOW)
            recorder.packed.clear()
            series.insert(name, value, timestamp)
            prepared = recorder.packed.copy()
            recorder.packed.clear()
            series._scripting = None
            series.insert(name, value, timestamp)
            series._scripting = True
        assert prepared == recorder.packed


def test_what_is_prepared_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    series, _ = recorded("count")
    for size in range(1, 3 * redis_backend._PREPARED):
        series.insert("n" * size)
    prepared = series._schedule.now(NOW).lifetimes[2]
    assert 0 < len(prepared) <= redis_backend._PREPARED


def test_a_class_with_rows_of_its_own_makes_them_of_many_too() -> None:
    class Halves(redis_backend.RedisCount):
        def _process_row(self, raw: Any) -> Any:
            return super()._process_row(raw) / 2

    halves: Any = Halves(redis.Redis(), intervals=INTERVALS)
    assert list(halves._process_rows([b"1", b"2"])) == [0.5, 1.0]
    counts: Any = redis_backend.RedisCount(redis.Redis(), intervals=INTERVALS)
    assert list(counts._process_rows([b"1", b"2.5"])) == [1, 2.5]
