"""Keep statistics over time in Redis, MongoDB or a SQL database, with one API."""

from __future__ import annotations

from . import exceptions
from .exceptions import KairosException, UnknownInterval, UnknownOutcome
from .registry import register_backend
from .timeseries import Backend, Count, Gauge, Histogram, Series, Set, Timeseries

__all__ = [
    "Backend",
    "Count",
    "Gauge",
    "Histogram",
    "KairosException",
    "Series",
    "Set",
    "Timeseries",
    "UnknownInterval",
    "UnknownOutcome",
    "exceptions",
    "register_backend",
]
__version__ = "1.0.0"
