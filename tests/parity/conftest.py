"""Fixtures that the parity suite shares with the contract suite."""

from __future__ import annotations

from tests.contract.conftest import clock, store

__all__ = ["clock", "store"]
