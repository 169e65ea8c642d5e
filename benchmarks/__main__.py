"""Run the benchmarks from the command line."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

_DOCS: Final = Path(__file__).resolve().parent.parent / "docs"


def _parser(urls: dict[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the jobs, and run none")
    parser.add_argument(
        "--only",
        action="append",
        metavar="PATTERN",
        help="run the jobs whose names the regular expression matches somewhere (repeatable)",
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds: a first look")
    parser.add_argument("--rounds", type=int, help="how many rounds each job has")
    parser.add_argument(
        "--original",
        metavar="PYTHON",
        default=os.environ.get("KAIROS_ORIGINAL_PYTHON"),
        help="a Python 2.7 that imports the original kairos (default: $KAIROS_ORIGINAL_PYTHON)",
    )
    parser.add_argument(
        "--profile", action="store_true", help="also find out where the time of kairos goes"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write performance.json and performance.svg there, and bring the tables of "
        "performance.rst up to date if it is there; default is docs/ for a run of everything, "
        "and nothing for a part",
    )
    for name, url in urls.items():
        parser.add_argument(f"--{name}", metavar="URL", default=url, help=f"default: {url}")
    return parser


def _stop(number: int, frame: Any) -> None:
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 1 if a target was missed."""
    root = str(_DOCS.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    from . import report
    from .bench import URLS, Bench, Unavailable
    from .chart import chart
    from .harness import QUICK, Settings, run
    from .jobs import find_jobs
    from .original import Original

    options = _parser(URLS).parse_args(arguments)
    jobs = [
        job
        for job in find_jobs()
        if not options.only or any(re.search(each, job.name) for each in options.only)
    ]
    if options.list:
        print("\n".join(job.name for job in jobs))
        return 0
    settings = QUICK if options.quick else Settings()
    if options.rounds:
        settings = replace(settings, rounds=options.rounds)
    if options.profile:
        settings = replace(settings, profile=0.5 if options.quick else 2.0)
    output = options.output
    if output is None and not (options.quick or options.only):
        output = _DOCS
    bench = Bench({name: getattr(options, name) for name in URLS})
    if options.quick:
        bench.values = 200_000
    results = []
    with closing(bench), suppress(KeyboardInterrupt):
        if options.original:
            original = Original(options.original)
            bench.stack.callback(original.close)
            bench.original = original
        for job in jobs:
            try:
                result = run(job, bench, settings)
            except Unavailable as error:
                bench.note(f"{job.name} was left out: {error}")
                continue
            results.append(result)
            print("\n".join(report.lines(result)), end="\n\n", flush=True)
        about = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": report.machine(),
            "servers": bench.servers(),
            "settings": asdict(settings),
            "notes": bench.notes,
        }
    verdicts = [verdict for result in results for verdict in result.verdicts()]
    for note in bench.notes:
        print(f"note: {note}")
    print(
        f"{len(results)} jobs, {sum(each.met for each in verdicts)} of {len(verdicts)} targets met"
    )
    for result in results:
        for verdict in result.verdicts():
            if not verdict.met:
                print(f"  {result.job.name}: {report.describe(verdict, result.job.unit)}")
    if output is not None and results:
        output.mkdir(parents=True, exist_ok=True)
        (output / "performance.json").write_text(report.as_json(results, about))
        (output / "performance.svg").write_text(chart(results))
        page = output / "performance.rst"
        if page.exists():
            report.write_into(page, list(report.tables(results, about)))
    return 0 if all(each.met for each in verdicts) else 1


if __name__ == "__main__":
    # What was made on the servers is removed also when somebody loses patience.
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
