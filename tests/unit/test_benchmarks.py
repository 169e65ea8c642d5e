"""The benchmarks do not rot: a minimal round of what needs no server, with all results compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.bench import URLS, Bench
from benchmarks.chart import chart
from benchmarks.harness import (
    Contender,
    Different,
    Job,
    Quartiles,
    Sample,
    Settings,
    Target,
    at_most,
    check,
    local,
    run,
    times_faster,
)
from benchmarks.jobs import find_jobs
from benchmarks.relay import Relay, counted

MINIMAL = Settings(rounds=1, turn=0.0, budget=0.0)
JOBS = {job.name: job for job in find_jobs()}
WITHOUT_SERVERS = [
    name for name in JOBS if re.match(r"engine/|sqlite/(?!memory|bulk-wide/series)", name)
]


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Return what the jobs share."""
    with closing(Bench(dict(URLS), values=1000)) as bench:
        yield bench


@pytest.mark.parametrize("name", WITHOUT_SERVERS)
def test_job(name: str, bench: Bench) -> None:
    result = run(JOBS[name], bench, MINIMAL)
    assert len(result.kairos.samples) == 1
    assert all(figures.samples[0].wall > 0 for figures in result.figures.values())
    assert next(report.lines(result)).startswith(name)


@pytest.mark.parametrize("task", ["stream", "iterate", "refuse"])
def test_memory_of_a_process(task: str, tmp_path: Path) -> None:
    from benchmarks.process_jobs import Report

    arguments = {"stream": ["1000"], "iterate": ["0.02"], "refuse": []}[task]
    runner = Report(task, f"sqlite:///{tmp_path / 'a.db'}", "bench", *arguments)
    assert 0 <= runner.measure(1).wall < 100


def test_every_row_of_the_targets_has_a_job() -> None:
    with_targets = [name for name, job in JOBS.items() if job.targets]
    for pattern in (
        "redis/insert/",
        "redis/bulk-(deep|wide)/",
        "redis/read-2880x10/whole",
        "redis/read-2880x10/count",
        "redis/read-2880/count",
        "mongo/(insert|bulk-deep|bulk-wide)/",
        "mongo/read-2880x10/whole",
        "(sqlite|postgresql|mariadb)/(insert|bulk-deep)/",
        "(sqlite|postgresql|mariadb)/read-2880x10/condensed-sum",
        "engine/insert",
        "process/import",
        "(sqlite|redis)/memory/stream",
    ):
        assert any(re.match(pattern, name) for name in with_targets), pattern


class Fixed:
    """Take a known time."""

    single = False

    def __init__(self, *seconds: float) -> None:
        self._seconds = [seconds[0]] * 3 + list(seconds)

    def prepare(self, turn: int) -> None:
        """Do nothing."""

    def measure(self, times: int) -> Sample:
        seconds = self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0]
        return Sample(seconds, seconds / 2)


def fixed_job(*targets: Target) -> Job:
    """Return a job in which kairos takes 2 seconds, and others 1, 4 and 20."""

    def open(bench: Any, stack: ExitStack) -> Iterator[Contender]:
        yield Contender("kairos", "kairos", "kairos", Fixed(2.0))
        yield Contender("slow", "by hand", "optimum", Fixed(4.0))
        yield Contender("fast", "by hand", "optimum", Fixed(1.0))
        yield Contender("original", "the original", "original", Fixed(20.0))

    return Job("redis/fixed", "s per thing", open, targets)


def test_targets_are_those_of_the_fastest_by_hand() -> None:
    targets = at_most(1.5), at_most(0.6, "slow"), times_faster(10), Target("itself", 1.0, "cpu")
    result = run(fixed_job(*targets, at_most(1, "absent")), None, Settings(rounds=3))
    assert [verdict.met for verdict in result.verdicts()] == [False, True, True, True]
    assert [verdict.reached for verdict in result.verdicts()] == [2.0, 0.5, 0.1, 1.0]
    assert result.optimum is not None
    assert result.optimum.contender.key == "fast"


def test_ratios_are_those_of_one_round() -> None:
    # Both are slower in the second round, when the machine is busy.
    def open(bench: Any, stack: ExitStack) -> Iterator[Contender]:
        yield Contender("kairos", "kairos", "kairos", Fixed(1.0, 10.0, 1.0))
        yield Contender("hand", "by hand", "optimum", Fixed(2.0, 20.0, 2.0))

    result = run(Job("a/b", "s", open), None, Settings(rounds=3, turn=0.0))
    assert result.kairos.ratio(result.figures["hand"]) == Quartiles(0.5, 0.5, 0.5)


def test_other_results_are_found() -> None:
    def contender(key: str, answer: object) -> Contender:
        return Contender(key, key, "kairos", local(lambda: None), outcome=lambda: answer)

    check([contender("a", {"x": 1}), contender("b", {"x": 1})])
    with pytest.raises(Different, match="b and a differ: 'x': 2 and 1"):
        check([contender("a", {"x": 1}), contender("b", {"x": 2})])


def test_documents_are_written(tmp_path: Path) -> None:
    result = run(fixed_job(at_most(1.5)), None, Settings(rounds=1))
    about = {
        "date": "2026-01-01",
        "machine": report.machine(),
        "servers": ["Redis 7"],
        "settings": {"rounds": 1},
        "notes": [],
    }
    found = json.loads(report.as_json([result], about))
    assert found["jobs"][0]["targets"] == [
        {"text": "at most 1.50 times fast's time: 2.00", "met": False}
    ]
    assert "redis/fixed" in chart([result])
    page = tmp_path / "performance.rst"
    before, after = "Title\n\n", "\n\nRest\n"
    page.write_text(f"{before}{report.BEGIN}\nold\n{report.END}{after}")
    for _ in range(2):
        report.write_into(page, list(report.tables([result], about)))
        text = page.read_text()
        assert text.startswith(before)
        assert text.endswith(after)
        assert "old" not in text
        assert text.count("``fixed``") == 1


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "^engine/"]) == 0
    assert "engine/insert" in capsys.readouterr().out
    only = ["--only", "engine/read", "--rounds", "1", "--profile"]
    assert main(["--quick", *only, "--original", "", "--output", str(tmp_path)]) == 0
    assert "0 of 0 targets met" in capsys.readouterr().out
    (job,) = json.loads((tmp_path / "performance.json").read_text())["jobs"]
    assert job["profile"]["layers"]["engine"] > 0.5
    assert (tmp_path / "performance.svg").read_text().startswith("<svg")


def test_round_trips_are_counted_on_the_wire() -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            server, _ = listener.accept()
            with server:
                # The reply begins before the request has ended.
                while data := server.recv(4):
                    server.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        relay = Relay(f"redis://127.0.0.1:{listener.getsockname()[1]}", 0)
        with closing(relay), socket.create_connection(("127.0.0.1", int(relay.url[18:]))) as client:

            def ask(request: bytes) -> None:
                client.sendall(request[:6])
                client.sendall(request[6:])
                missing = len(request)
                while missing:
                    missing -= len(client.recv(missing))

            def ask_thrice() -> None:
                for _ in range(3):
                    ask(b"01234567")

            assert counted(relay, partial(ask, b"0123456789")) == (1, b"0123456789")
            assert counted(relay, ask_thrice)[0] == 3
