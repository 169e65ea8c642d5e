"""End the servers of a test run that can no longer end them itself.

Run as a program, once per test process, by :mod:`tests.support.servers`. It reads what the test
process owns from standard input, one entry a line, and waits for the end of that stream, which comes
however the test process ends: orderly, by Ctrl-C or by SIGKILL. Then it kills the processes and
removes the directories that are still owned. (``PR_SET_PDEATHSIG`` would do it without a helper,
but it acts on the death of the *thread* that started the server, and it exists on Linux only.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterable


def reap(lines: Iterable[str]) -> None:
    """Follow the entries until they end, then remove all that is still owned.

    :param lines: ``+pid N`` and ``+dir PATH`` when something is owned from now on, ``-pid N`` and
        ``-dir PATH`` when it is gone.
    """
    owned: dict[str, None] = {}  # in order of arrival: a directory is older than what runs in it
    for line in lines:
        sign, entry = line[0], line[1:].rstrip("\n")
        if sign == "+":
            owned[entry] = None
        else:
            owned.pop(entry, None)
    for entry in reversed(owned):
        kind, _, what = entry.partition(" ")
        if kind == "pid":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(what), signal.SIGKILL)
        else:
            shutil.rmtree(what, ignore_errors=True)


if __name__ == "__main__":
    reap(sys.stdin)
