"""The programs in ``script``: as a user runs them, and the bookkeeping by which they judge."""

from __future__ import annotations

import csv
import errno
import importlib.machinery
import importlib.util
import io
import itertools
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..support.servers import poll

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "script"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def load(name: str) -> ModuleType:
    """Import a program or module of ``script``."""
    if name in sys.modules:
        return sys.modules[name]
    path = SCRIPTS / name
    path = path if path.exists() else path.with_suffix(".py")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program with its output in pipes; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONWARNINGS")
        }
        process = subprocess.Popen(
            [sys.executable, str(SCRIPTS / program), *arguments],
            env={**inherited, "XDG_STATE_HOME": str(tmp_path / "state"), **environment},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def execute(
    start: Callable[..., subprocess.Popen[str]],
) -> Callable[..., tuple[int, str, str]]:
    """Run a program and return its status and what it printed to both outputs."""

    def execute(program: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = start(program, *arguments, **environment)
        out, err = process.communicate(timeout=280)
        return process.returncode, out, err

    return execute


# --- the example ---------------------------------------------------------------------------------


def stored(output: str) -> int:
    """Return how many values the example says that it has."""
    found = re.search(r"([\d,]+) are\s+stored now", output)
    assert found, output
    return int(found[1].replace(",", ""))


def test_example_grows_from_run_to_run(
    execute: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    runs = [execute("example", LANG="C.UTF-8") for _ in range(2)]
    for status, out, err in runs:
        assert (status, err) == (0, "")
        assert "\033" not in out
        parts = re.findall(r"^(\d)\. ", out, re.MULTILINE)
        assert parts == list("1234567")
        assert "█" in out
        assert "'mean'" in out
    assert (tmp_path / "state" / "kairos" / "example.sqlite").exists()
    first, second = (stored(out) for _, out, _ in runs)
    assert first >= 900  # of the minutes before it
    assert second >= first + 6


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_example_keeps_to_the_screen(
    execute: Callable[..., tuple[int, str, str]], columns: int
) -> None:
    environment = {"COLUMNS": str(columns), "LINES": "24" if columns == 80 else "60", "LC_ALL": "C"}
    for _ in range(2):
        status, out, err = execute("example", **environment)
        assert (status, err) == (0, "")
        assert out.isascii()
        assert "#" in out
        lines = out.splitlines()
        assert max(map(len, lines)) <= columns
        assert len(lines) <= int(environment["LINES"]) - 2  # the headline of watch
        assert sum("#" in line for line in lines) >= 3


def new_year(
    path: Path, header: bool = True, seconds: bool = False
) -> list[tuple[datetime, float]]:
    """Write a file that crosses a New Year, in uneven steps, and return what is in it."""
    start = datetime(2014, 12, 20, 22, 10, tzinfo=timezone.utc)
    moments = [start.timestamp() + 4567 * number for number in range(400)]
    rows = [
        (datetime.fromtimestamp(moment, timezone.utc), number * 37 % 101 - 7 + number % 4 / 8)
        for number, moment in enumerate(moments)
    ]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if header:
            writer.writerow(["timestamp", "value"])
        for moment, value in rows:
            text = f"{moment:%Y-%m-%d %H:%M:%S}"
            writer.writerow([int(moment.timestamp()) if seconds else text, value])
    return rows


#: The labels of the tables; that of a week names the day on which it begins in this year.
LABELS: dict[str, Callable[[datetime], str]] = {
    "hour": lambda moment: f"{moment:%Y-%m-%d %H:00}",
    "day": lambda moment: f"{moment:%Y-%m-%d %a}",
    "week": lambda moment: f"{moment:%Y week %U}",
    "month": lambda moment: f"{moment:%Y-%m}",
}
ROW = re.compile(
    r"(?P<label>\d{4}-\d\d(-\d\d)?( (\w{3}|\d\d:00|week \d\d))?) +(?P<total>-?[\d,.]+) .*?"
    r"(?P<rows>[\d,]+) +\S+ +\S+ +\S+"
)


def read_tables(output: str) -> dict[str, dict[str, tuple[float, int]]]:
    """Return {interval: {label: (total, rows)}} of the tables that were printed."""
    tables: dict[str, dict[str, tuple[float, int]]] = {}
    table: dict[str, tuple[float, int]] = {}
    for line in output.splitlines():
        head = re.match(r"By (\w+):", line)
        if head:
            table = tables[head[1]] = {}
        row = ROW.fullmatch(line)
        if row:
            label = re.sub(r"-\d\d-\d\d (?=week)", " ", row["label"])
            assert label not in table
            table[label] = float(row["total"].replace(",", "")), int(row["rows"].replace(",", ""))
    return tables


@pytest.mark.parametrize(("header", "seconds"), [(True, False), (False, True)])
def test_csv_totals_equal_those_of_plain_python(
    execute: Callable[..., tuple[int, str, str]], tmp_path: Path, header: bool, seconds: bool
) -> None:
    path = tmp_path / "values.csv"
    rows = new_year(path, header, seconds)
    for _ in range(2):  # the second run begins anew
        status, out, err = execute("example", "--csv", str(path), "--rows", "0", COLUMNS="100")
        assert (status, err) == (0, "")
        tables = read_tables(out)
        assert list(tables) == list(LABELS)
        for interval, label_of in LABELS.items():
            expected: dict[str, list[float]] = defaultdict(list)
            for moment, value in rows:
                expected[label_of(moment)].append(value)
            filled = {label: got for label, got in tables[interval].items() if got[1]}
            assert filled == {
                label: (math.fsum(values), len(values)) for label, values in expected.items()
            }
        assert {"2014 week 52", "2015 week 00"} <= set(tables["week"])


def test_csv_shows_the_last_hours_and_says_so(
    execute: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    new_year(tmp_path / "values.csv")
    status, out, _ = execute("example", "--csv", "values.csv", "--database", "own.sqlite")
    assert status == 0
    assert "By hour: the last 24 of 507, --rows 0 shows all" in out
    assert len(read_tables(out)["hour"]) == 24
    assert (tmp_path / "own.sqlite").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("time,value\n1,2\n2,x\n", "line 3: 'x' is not a number: 2,x"),
        ("2014-01-01,1\nyesterday,2\n", "line 2: 'yesterday' is neither"),
        ("yesterday,2\n", "line 1: 'yesterday' is neither"),
        ("1,2,3\n", "line 1: there must be two columns, not 3: 1,2,3"),
        ("1\n", "line 1: there must be two columns, not 1: 1"),
        ("1,nan\n", "line 1: 'nan' is not a number"),
        ("99999999999999,1\n", "line 1: '99999999999999' is neither"),
        ('1,2\n"3\n', "line 2: "),
        ("1,2\n\xff,3\n", r"line 2: '\udcff' is neither"),
        ("", "the file has no rows"),
        ("time,value\n\n", "the file has no rows"),
    ],
)
def test_csv_names_the_line_that_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    example, common = load("example"), load("_common")
    path = tmp_path / "bad.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(common.Failure) as caught:
        list(example.Table(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-1.5", -1.5),
        (" 1404172800 ", 1404172800),
        ("2014-07-01", 1404172800),
        ("2014-07-01 00:00:00", 1404172800),
        ("2014-07-01T00:00:00Z", 1404172800),
        ("2014-07-01T02:00:00+02:00", 1404172800),
        ("nan", None),
        ("", None),
        ("Z", None),
        ("1e300", None),
    ],
)
def test_csv_times(text: str, seconds: float | None) -> None:
    assert load("example").parse_time(text) == seconds


def test_an_unreadable_file_leaves_the_last_one(
    execute: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_text("1,2\n")
    database = tmp_path / "example.sqlite"
    assert execute("example", "--csv", "good.csv", "--database", str(database))[0] == 0
    before = database.read_bytes()
    for name, reason in (("none.csv", os.strerror(errno.ENOENT)), (".", "Is a directory")):
        status, out, err = execute("example", "--csv", name, "--database", str(database))
        assert (status, out) == (1, "")
        assert err == f"example: {name}: {reason}\n"
    assert database.read_bytes() == before


# --- how both end --------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["example", "integration"])
@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("nonsense", 2, "is not a URL"),
        ("foo://host/", 2, "not supported"),
        ("redis://127.0.0.1:1/", 1, "onnect"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:1/none", 1, "onnect"),
        ("mysql+pymysql://nobody:secret@127.0.0.1:1/none", 1, "onnect"),
        ("sqlite:////nowhere/at/all.sqlite", 1, "unable to open"),
    ],
)
def test_a_wrong_url_is_told_in_one_line(
    execute: Callable[..., tuple[int, str, str]], program: str, url: str, status: int, message: str
) -> None:
    got, out, err = execute(program, "--url", url)
    assert (got, out) == (status, ""), err
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith(f"{program}: ")
    assert "secret" not in err


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("example", ["--rows", "3"]),
        ("example", ["--url", "sqlite://", "--database", "x"]),
        ("integration", ["--faults", "--url", "sqlite://"]),
        ("integration", ["--backend", "redis"]),
        ("integration", ["--processes", "0"]),
        ("integration", ["--rate", "-1"]),
    ],
)
def test_a_wrong_command_line(
    program: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        load(program).parse(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_a_reader_that_goes_is_no_error(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    new_year(tmp_path / "values.csv")
    os.mkfifo(tmp_path / "slow.csv")
    process = start("example", "--csv", "slow.csv", "--rows", "0")
    assert process.stdout is not None
    process.stdout.close()
    (tmp_path / "slow.csv").write_text((tmp_path / "values.csv").read_text())
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


def test_ctrl_c_is_quiet(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.csv")
    process = start("example", "--csv", "slow.csv")
    with (tmp_path / "slow.csv").open("w"):  # waits until the program has opened it
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


def test_errors_of_our_own_are_not_hidden() -> None:
    common = load("_common")
    assert common.explain(ZeroDivisionError()) is None
    assert common.explain(OSError(errno.EPIPE, "Broken pipe")) == "[Errno 32] Broken pipe"
    long = ConnectionError(f"mongodb://user:secret@host/ {'x' * 500}\nmore")
    explained = common.explain(long)
    assert len(explained) <= 300
    assert "secret" not in explained


# --- the terminal --------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal, or not."""

    encoding = "utf-8"

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """Tell which it is."""
        return self._terminal


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Screen]]:
    """Return a console and its screen, in an environment of its own."""

    def make(terminal: bool = False, **environment: str) -> tuple[Any, Screen]:
        for name in ("LC_ALL", "LC_CTYPE", "LANG", "NO_COLOR", "TERM", "COLUMNS", "LINES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        screen = Screen(terminal)
        return load("_common").Console(screen), screen

    return make


def test_bars(console: Callable[..., tuple[Any, Screen]]) -> None:
    blocks, _ = console(LANG="en_US.UTF-8")
    assert [blocks.bar(share, 4) for share in (0, 0.001, 0.5, 0.97, 2)] == [
        "    ", "▏   ", "██  ", "███▉", "████",
    ]  # fmt: skip
    for environment in ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, {"LC_CTYPE": "C.UTF-8"}, {}):
        plain, _ = console(**environment)
        assert [plain.bar(share, 4) for share in (0, 0.001, 0.5, 1)] == [
            "    ", "#   ", "##  ", "####",
        ]  # fmt: skip


def test_colour_is_for_terminals_only(console: Callable[..., tuple[Any, Screen]]) -> None:
    for terminal, environment, coloured in (
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ):
        target, screen = console(terminal, **environment)
        target.line("headline", "1")
        target.chart([("a", 1, "")])
        assert ("\033" in screen.getvalue()) is coloured


def test_charts_fit(console: Callable[..., tuple[Any, Screen]]) -> None:
    rows = [("label", None, "a note"), ("one", 5, "x"), ("two", 10, "y"), ("below", -3, "z")]
    for columns in range(20, 120):
        target, screen = console(COLUMNS=str(columns))
        target.chart(rows)
        target.line("x" * 300)
        lines = screen.getvalue().splitlines()
        assert max(map(len, lines)) <= columns
        assert len(lines) == 5
        assert abs(lines[2].count("#") - 2 * lines[1].count("#")) <= 1
        assert "#" not in lines[3]


# --- the judgement -------------------------------------------------------------------------------


def judge(records: list[tuple[Any, str, str]], rows: dict[int, Any]) -> Any:
    """Return the figures for one name of which all that is read back is the same in both intervals."""
    verdict = load("_verdict")

    class Stored:
        def series(self, name: str, interval: str, **_: Any) -> dict[int, Any]:
            return rows if interval == "minute" else {0: rows}

    ledger = verdict.Ledger(records)
    kind = records[0][0].type
    minute, hour = (figures for _, _, figures in ledger.judge({kind: Stored()}))
    assert minute == hour
    return minute


@pytest.mark.parametrize(
    ("kind", "outcomes", "row", "expected"),
    [
        # (value, outcome)..., what is read back, (found, lost, doubled, strange)
        ("series", [(1, "+"), (2, "+")], [1, 2], (2, 0, 0, 0)),
        ("series", [(1, "+"), (2, "+")], [1], (1, 1, 0, 0)),
        ("series", [(1, "+"), (2, "+")], [1, 2, 2], (3, 0, 1, 0)),
        ("series", [(1, "+"), (2, "?")], [1], (1, 0, 0, 0)),
        ("series", [(1, "+"), (2, "?")], [1, 2, 2], (3, 0, 1, 0)),
        ("series", [(1, "+"), (2, "-")], [1, 9], (2, 0, 0, 1)),
        # A loss and a duplicate do not make up for each other.
        ("series", [(1, "+"), (2, "+")], [1, 1], (2, 1, 1, 0)),
        ("set", [(1, "+"), (2, "+")], {1}, (1, 1, 0, 0)),
        ("histogram", [(5, "+"), (5, "+"), (5, "?")], {5: 2}, (2, 0, 0, 0)),
        ("histogram", [(5, "+"), (5, "+"), (5, "?")], {5: 4}, (4, 0, 1, 0)),
        ("histogram", [(5, "+"), (6, "+")], {5: 1, 7: 1}, (2, 1, 0, 1)),
        ("count", [(1, "+"), (1, "+"), (1, "?")], 3, (3, 0, 0, 0)),
        ("count", [(1, "+"), (1, "+"), (1, "?")], 1, (1, 1, 0, 0)),
        ("count", [(1, "+"), (1, "-")], 3, (3, 0, 1, 0)),
        ("count", [(1, "+")], 0, (0, 1, 0, 0)),
        ("gauge", [(1, "+"), (2, "+")], 2, (1, 0, 0, 0)),
        ("gauge", [(1, "+"), (2, "+")], 1, (1, 1, 0, 0)),
        ("gauge", [(1, "+"), (2, "+")], None, (0, 1, 0, 0)),
        ("gauge", [(1, "+"), (2, "?")], 1, (1, 0, 0, 0)),
        ("gauge", [(1, "+"), (2, "?")], 2, (1, 0, 0, 0)),
        ("gauge", [(1, "?")], None, (0, 0, 0, 0)),
        ("gauge", [(1, "?")], 7, (1, 0, 0, 1)),
    ],
)
def test_judgement(
    kind: str, outcomes: list[tuple[int, str]], row: Any, expected: tuple[int, ...]
) -> None:
    entry = load("_load").Entry
    figures = judge([(entry(kind, "n", 75, value), out, "") for value, out in outcomes], {60: row})
    assert (figures.found, figures.lost, figures.doubled, figures.strange) == expected
    assert figures.good is (expected[1:] == (0, 0, 0))


def test_a_value_in_the_wrong_bucket_is_lost_and_strange() -> None:
    entry = load("_load").Entry
    figures = judge([(entry("series", "n", 75, 1), "+", "")], {60: [], 120: [1]})
    assert (figures.found, figures.lost, figures.strange) == (1, 1, 1)


def write(folder: Path, kind: str, series: Any, calls: int, bulk: int = 0) -> Any:
    """Let one writer make some calls, and return the ledger of its journal."""
    module, verdict = load("_load"), load("_verdict")
    folder.mkdir(exist_ok=True)
    job = module.Job(
        url="",
        types=(kind,),
        run="r",
        names=2,
        threads=1,
        rate=0,
        bulk=bulk,
        seed=1,
        journals=folder,
    )
    turns = itertools.count()
    counted: Counter[str] = Counter()

    def count(counter: int, number: int) -> None:
        counted[module.COUNTERS[counter]] += number

    module.Writer(job, 0, {kind: series}, lambda: next(turns) >= calls, count).run()
    return verdict.Ledger(module.read_journal(folder / "0")), counted


@pytest.mark.parametrize("kind", ["series", "histogram", "count", "gauge", "set"])
@pytest.mark.parametrize("fault", ["none", "loses", "doubles"])
def test_a_store_that_loses_or_doubles_is_found_out(tmp_path: Path, kind: str, fault: str) -> None:
    module = load("_load")
    series = module.open_all(f"sqlite:///{tmp_path}/store.sqlite", [kind])[kind]

    class Faulty:
        def __init__(self) -> None:
            self.calls = 0

        def insert(self, *arguments: Any, timestamp: int, id: Any) -> None:
            self.calls += 1
            if fault == "loses" and self.calls >= 90:
                return
            for _ in range(2 if fault == "doubles" and self.calls % 10 == 0 else 1):
                series.insert(*arguments, timestamp=timestamp)

    ledger, counted = write(tmp_path / "journals", kind, Faulty(), 100, bulk=1)
    assert counted == {"acknowledged": 100}
    figures = list(ledger.judge({kind: series}))
    lost, doubled = (sum(getattr(f, what) for _, _, f in figures) for what in ("lost", "doubled"))
    assert (lost > 0) is (fault == "loses")
    # Writing the same again changes neither a set nor a gauge.
    assert (doubled > 0) is (fault == "doubles" and kind not in ("set", "gauge"))


@pytest.mark.parametrize("kind", ["series", "count"])
def test_lost_answers_are_repeated_under_their_ids(tmp_path: Path, kind: str) -> None:
    from kairos import UnknownOutcome

    module = load("_load")
    series = module.open_all(f"sqlite:///{tmp_path}/store.sqlite", [kind])[kind]

    class Flaky:
        def __init__(self) -> None:
            self.calls = 0

        def _answer(self, call: Callable[[], None]) -> None:
            self.calls += 1
            if self.calls % 7 == 1:
                raise ConnectionRefusedError
            call()
            if self.calls % 7 == 3:
                raise UnknownOutcome("lost")

        def insert(self, *arguments: Any, **options: Any) -> None:
            self._answer(lambda: series.insert(*arguments, **options))

        def bulk_insert(self, rows: Any) -> None:
            self._answer(lambda: series.bulk_insert(rows))

    ledger, counted = write(tmp_path / "journals", kind, Flaky(), 60)
    assert min(counted[what] for what in module.COUNTERS) > 0
    for _, _, figures in ledger.judge({kind: series}):
        assert figures.good
        # What was lost on the way back is there, what was refused is not.
        assert figures.found == figures.acknowledged + figures.unknown
    assert set(ledger.errors) == {"UnknownOutcome", "ConnectionRefusedError"}


def test_mistakes_of_our_own_end_the_load(tmp_path: Path) -> None:
    class Broken:
        def insert(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path, "series", Broken(), 3, bulk=1)


def test_a_journal_that_ends_in_mid_write(tmp_path: Path) -> None:
    module = load("_load")
    (tmp_path / "0").write_text("series n 60 1\n+ \nseries n 60 2\n? Lost\nseries n 61 3\n")
    entry = module.Entry
    assert list(module.read_journal(tmp_path / "0")) == [
        (entry("series", "n", 60, 1), "+", ""),
        (entry("series", "n", 60, 2), "?", "Lost"),
        (entry("series", "n", 61, 3), "?", "killed"),
    ]


# --- the load and the soak -----------------------------------------------------------------------


def table(output: str) -> dict[tuple[str, str], list[int]]:
    """Return {(type, interval): [acknowledged, unknown, refused, found, lost, doubled]}."""
    rows = re.findall(r"^(\w+) +(minute|hour)((?: +[\d,]+){6})$", output, re.MULTILINE)
    return {
        (kind, interval): [int(number.replace(",", "")) for number in numbers.split()]
        for kind, interval, numbers in rows
    }


def test_integration_finds_everything(
    execute: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    database = tmp_path / "load.sqlite"
    status, out, err = execute(
        "integration", "--url", f"sqlite:///{database}", "--duration", "1.5", "--seed", "7"
    )
    assert (status, err) == (0, ""), out
    rows = table(out)
    assert len(rows) == 10
    for acknowledged, unknown, refused, found, lost, doubled in rows.values():
        assert acknowledged == found > 0
        assert [unknown, refused, lost, doubled] == [0, 0, 0, 0]
    assert "Verdict: every acknowledged value is there exactly once." in out
    series = load("_load").open_all(f"sqlite:///{database}", ["series"])["series"]
    assert series.list() == []  # it has cleared up


def test_integration_stops_early_and_still_judges(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    arguments = ["--type", "count", "--rate", "100", "--duration", "90", "--processes", "1"]
    process = start("integration", *arguments, TMPDIR=str(tmp_path))

    def acknowledged() -> bool:
        journals = tmp_path.glob("kairos-integration-*/journals/*")
        return any("+" in journal.read_text() for journal in journals)

    poll(acknowledged, "the first writes")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "Stopped after" in out
    assert "Verdict: every acknowledged value is there exactly once." in out


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sqlite", "redis", "postgresql", "mariadb", "mongo"])
def test_soak(execute: Callable[..., tuple[int, str, str]], name: str) -> None:
    status, out, err = execute("integration", "--faults", "--backend", name, "--duration", "12")
    if "is not installed" in err and os.environ.get("CI") != "true":
        pytest.skip(err)
    assert status == 0, out + err
    assert not any(row[4] or row[5] for row in table(out).values())
    killed = re.search(r"Killed (\d+) times", out)
    assert killed
    assert int(killed[1]) >= 1
