"""List the jobs whose modules can be imported here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from .harness import Job

_MODULES: Final = ("engine_jobs", "process_jobs", "redis_jobs", "mongo_jobs", "sql_jobs")


def find_jobs() -> Iterator[Job]:
    """Yield all jobs, store by store."""
    for name in _MODULES:
        yield from import_module(f".{name}", __package__).JOBS
