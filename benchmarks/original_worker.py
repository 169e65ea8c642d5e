# This is Python 2.7 as well, which knows neither annotations nor today's idioms.
# mypy: ignore-errors
# ruff: noqa: BLE001, C402, UP004, UP010
"""Run the original kairos, in an interpreter that has it, and do what the benchmarks ask for.

Requests and answers are lines of JSON on standard input and output. This file runs under Python 2.7, and
imports nothing of this package.
"""

from __future__ import print_function

import json
import sys
import time
import traceback
import warnings
from collections import OrderedDict

warnings.simplefilter("ignore")

import kairos  # noqa: E402 - the line above keeps it quiet

# Processor time, under the name that either Python has for it.
process_time = getattr(time, "process_time", None) or time.clock


def connect(url, wal):
    """Return a client for a URL."""
    scheme = url.split(":")[0].split("+")[0]
    if scheme in ("redis", "unix"):
        import redis

        return redis.Redis.from_url(url)
    if scheme == "mongodb":
        import pymongo

        server, _, database = url.rpartition("/")
        return pymongo.MongoClient(server)[str(database)]
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    if wal:

        @sqlalchemy.event.listens_for(engine, "connect")
        def tune(connection, record):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def find(collection, spec, sort, method):
    """Ask as the original does, in the words of a driver that today's servers understand."""
    if method == "find":
        return collection.find(spec, sort=sort)
    return collection.find_one(spec, sort=sort)


def plain(value):
    """Return an answer as JSON has it, mappings as lists of pairs."""
    if isinstance(value, dict):
        return [[key, plain(each)] for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(each) for each in value)
    return value


class NullPipeline(object):
    """Take any command, and do nothing."""

    def __getattr__(self, command):
        return self.ignore

    def ignore(self, *arguments, **options):
        """Do nothing."""


class Worker(object):
    """Hold the series that were asked for, and the operation that is measured next."""

    def __init__(self):
        self.series = {}
        self.entries = {}

    def open(self, key, url, wal, type, read_func, prefix, **options):
        """Make a series."""
        if prefix:
            options["prefix"] = str(prefix)
        if read_func:
            options["read_func"] = {"float": float, "int": int}[read_func]
        for name in ("table_name", "value_type"):
            if name in options:
                options[name] = str(options[name])
        self.series[key] = kairos.Timeseries(connect(url, wal), type=str(type), **options)

    def operation(self, key, call, name, value=None, entries=None, arguments=None):
        """Return a function that does one operation."""
        series = self.series[key]
        if call == "insert":
            return lambda: series.insert(name, value)
        if call == "bulk_insert":
            # Its keys are timestamps, which JSON turns into text; and it changes what it is given.
            return lambda: series.bulk_insert(
                OrderedDict(
                    (moment, OrderedDict((each, list(values)) for each, values in names))
                    for moment, names in entries
                )
            )
        if call == "queue":
            pipeline = NullPipeline()
            return lambda: series.insert(name, value, pipeline=pipeline)
        arguments = dict((str(key), each) for key, each in (arguments or {}).items())
        if type(series).__name__.startswith("Mongo"):
            arguments["fetch"] = find
        return lambda: getattr(series, call)(name, **arguments)

    def prepare(self, **request):
        """Get an operation ready."""
        self.prepared = self.operation(**request)

    def measure(self, times):
        """Return the seconds of so many operations, by the clock and of processor time."""
        prepared = self.prepared
        cpu, wall = process_time(), time.time()
        for _ in range(times):
            prepared()
        return [(time.time() - wall) / times, (process_time() - cpu) / times]

    def answer(self):
        """Return what the operation returns."""
        return plain(self.prepared())

    def version(self):
        """Return the versions of Python and of what is measured."""
        return "Python " + sys.version.split()[0]


def main():
    """Answer requests until there are no more."""
    worker = Worker()
    # What drivers print must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        try:
            reply = {"value": getattr(worker, request.pop("do"))(**request)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
