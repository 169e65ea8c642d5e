"""Fixtures of the contract suite: a clock that stands still, and a store that can be looked into."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .store import Store

#: What the frozen clock shows: 2036-07-18 13:20:00 UTC, a Friday. It lies in the future, so that no server
#: expires what the tests write, and in the range of 32 bits.
NOW = 2_100_000_000


class Clock:
    """Stand in for ``time.time``."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Freeze the time that kairos takes for now; a test moves it by setting ``clock.now``."""
    stopped = Clock()
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture
def store(backend: Any) -> Store:
    """Return the backend under test, with eyes."""
    return Store(backend)
