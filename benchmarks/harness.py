"""Run contenders in turns, and reduce what was measured to medians, ratios and verdicts."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

from .profiling import Profile, profile

#: What a contender is to kairos: code written by hand on the same client layer, of which the fastest is
#: what kairos is compared with; the original; what a user might take instead; or a figure to set the
#: others against, such as the bare socket.
Role = Literal["kairos", "optimum", "original", "instead", "reference"]

#: Operations that are not measured before the first one that is.
_WARM_UP: Final = 3
#: Rounds in which even the slowest contender has a turn.
_FEWEST: Final = 3


class Sample(NamedTuple):
    """Hold the seconds of one turn, per operation: by the clock, and of this process's processor time."""

    wall: float
    cpu: float


class Runner(Protocol):
    """Say what can be measured: an operation of this process or of another one."""

    single: bool

    def prepare(self, turn: int) -> None:
        """Get ready for a turn, which is not measured: choose a new name, for one."""

    def measure(self, times: int) -> Sample:
        """Return the seconds of one operation, from so many in a row."""


class Local:
    """Measure an operation of this process.

    :param start: is given the number of the turn, and returns the operation.
    :param single: whether it must be prepared before each time, so that a turn is one operation.
    """

    def __init__(self, start: Callable[[int], Callable[[], object]], single: bool = False) -> None:
        self.single = single
        self._start = start
        self._operation: Callable[[], object] = lambda: None

    def prepare(self, turn: int) -> None:
        self._operation = self._start(turn)

    def measure(self, times: int) -> Sample:
        operation = self._operation
        repeats = range(times)
        # What others have left is not to be collected at the expense of this one.
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in repeats:
            operation()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Sample(wall / times, cpu / times)

    def once(self) -> object:
        """Run the operation, and return what it returns."""
        return self._operation()


def local(operation: Callable[[], object]) -> Local:
    """Measure an operation that is the same in every turn."""
    return Local(lambda turn: operation)


@dataclass
class Contender:
    """Name one way to do a job.

    :ivar what: it is, in a few words.
    :ivar runner: None for a figure that was measured in another way, as ``known``.
    :ivar units: of the job (inserts, values, reads) that one operation makes.
    :ivar outcome: returns what the job has stored or answered, to be compared with the others'.
    :ivar count: returns the round trips and commands of one operation.
    """

    key: str
    what: str
    role: Role
    runner: Runner
    units: int = 1
    outcome: Callable[[], object] | None = None
    count: Callable[[], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class Target:
    """Say how fast kairos has to be.

    :ivar against: a role or the key of a contender; "itself" for a figure in the job's unit.
    :ivar limit: the largest ratio of kairos's time to the other one's, or the largest figure.
    :ivar clock: which of the two times counts.
    """

    against: str
    limit: float
    clock: Literal["wall", "cpu"] = "wall"


def at_most(limit: float, against: str = "optimum") -> Target:
    """Ask for at most so many times the other one's time."""
    return Target(against, limit)


def times_faster(factor: float, against: str = "original") -> Target:
    """Ask for at most this fraction of the other one's time."""
    return Target(against, 1 / factor)


@dataclass(frozen=True)
class Job:
    """Name something to be measured.

    :ivar name: words separated by slashes, from the store to what is done.
    :ivar unit: what the figures are in, such as "µs per insert".
    :ivar open: returns the contenders; what it opens is closed by the stack it is given.
    :ivar once: whether it takes so long that it is measured only once.
    """

    name: str
    unit: str
    open: Callable[[Any, ExitStack], Iterable[Contender]]
    targets: Sequence[Target] = ()
    once: bool = False


#: How many of a unit a second has.
SCALES: Final = {"ns": 1e9, "µs": 1e6, "ms": 1e3, "s": 1.0, "MB": 1.0}


@dataclass(frozen=True)
class Settings:
    """Say how long to measure.

    :ivar rounds: in which each contender has a turn.
    :ivar turn: the seconds that a turn takes, if an operation takes less.
    :ivar budget: the seconds that one contender may take; slow ones skip rounds, but for three.
    :ivar profile: the seconds for which kairos is profiled, 0 for not at all.
    """

    rounds: int = 25
    turn: float = 0.05
    budget: float = 15.0
    profile: float = 0.0


QUICK: Final = Settings(rounds=5, turn=0.01, budget=1.5)


class Quartiles(NamedTuple):
    """Hold the median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """Return the quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)


@dataclass
class Figures:
    """Hold what was measured of one contender: seconds per unit of the job, round by round."""

    contender: Contender
    samples: dict[int, Sample] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    times: int = 1

    @property
    def wall(self) -> Quartiles:
        """Return the seconds by the clock."""
        return Quartiles.of([sample.wall for sample in self.samples.values()])

    @property
    def cpu(self) -> Quartiles:
        """Return the seconds of processor time."""
        return Quartiles.of([sample.cpu for sample in self.samples.values()])

    def ratio(self, other: Figures, clock: Literal["wall", "cpu"] = "wall") -> Quartiles:
        """Return this one's time divided by another one's, from the rounds in which both had a turn."""
        mine, its = self.samples, other.samples
        return Quartiles.of(
            [
                getattr(mine[turn], clock) / (getattr(its[turn], clock) or 1e-9)
                for turn in mine
                if turn in its
            ]
        )


class Verdict(NamedTuple):
    """Tell whether a target was met.

    :ivar against: the contender that it was measured against, None for a figure of kairos alone.
    """

    target: Target
    against: Figures | None
    reached: float
    met: bool


@dataclass
class Result:
    """Hold the figures of a job."""

    job: Job
    figures: Mapping[str, Figures]
    profile: Profile | None = None

    @property
    def scale(self) -> float:
        """Return how many of the job's unit a second has."""
        return SCALES[self.job.unit.partition(" ")[0]]

    @property
    def kairos(self) -> Figures:
        """Return the figures of kairos."""
        return next(each for each in self.figures.values() if each.contender.role == "kairos")

    @property
    def optimum(self) -> Figures | None:
        """Return the figures of the fastest code written by hand."""
        found = [each for each in self.figures.values() if each.contender.role == "optimum"]
        return min(found, key=lambda each: each.wall.median, default=None)

    def opponent(self, against: str) -> Figures | None:
        """Return the figures that a target refers to, None where that contender did not run."""
        if against == "optimum":
            return self.optimum
        for figures in self.figures.values():
            if against in (figures.contender.role, figures.contender.key):
                return figures
        return None

    def verdicts(self) -> Iterator[Verdict]:
        """Yield whether the targets were met, of those whose contenders ran."""
        for target in self.job.targets:
            if target.against == "itself":
                reached = getattr(self.kairos, target.clock).median * self.scale
                yield Verdict(target, None, reached, reached <= target.limit)
                continue
            opponent = self.opponent(target.against)
            if opponent is not None:
                reached = self.kairos.ratio(opponent, target.clock).median
                yield Verdict(target, opponent, reached, reached <= target.limit)


class Different(AssertionError):
    """Tell that two contenders do not do the same job."""


def plain(value: Any) -> Any:
    """Return an answer as the original's comes: mappings as lists of pairs."""
    if isinstance(value, Mapping):
        return [[key, plain(each)] for key, each in value.items()]
    return value


class About(float):
    """Equal any time that is at most five minutes away.

    Expiries are counted from the moment of writing, and contenders write one after the other.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, About) and abs(self - other) <= 300

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__


def check(contenders: Sequence[Contender]) -> None:
    """Compare what all contenders store or answer.

    :raises Different: when one of them differs from kairos.
    """
    while True:
        minute = time.time() // 60
        outcomes = [(each.key, each.outcome()) for each in contenders if each.outcome is not None]
        others = [(key, outcome) for key, outcome in outcomes if outcome != outcomes[0][1]]
        if not others:
            return
        # Those who write into the current minute may have written into different ones.
        if time.time() // 60 == minute:
            (first, expected), (key, outcome) = outcomes[0], others[0]
            raise Different(f"{key} and {first} differ: {_first_difference(outcome, expected)}")


def _first_difference(one: Any, other: Any) -> str:
    """Show where two outcomes differ, as far as they are mappings."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in (*one, *other):
            if key not in one or key not in other or one[key] != other[key]:
                return f"{key!r}: {one.get(key)!r:.300} and {other.get(key)!r:.300}"
        return f"order of keys: {list(one)!r:.300} and {list(other)!r:.300}"
    return f"{one!r:.300} and {other!r:.300}"


def run(job: Job, bench: Any, settings: Settings) -> Result:
    """Run all contenders of a job in turns."""
    with ExitStack() as stack:
        contenders = list(job.open(bench, stack))
        check(contenders)
        figures = {each.key: Figures(each) for each in contenders}
        # Counting comes first: a proxy and listeners must not be there when time is measured.
        for each in figures.values():
            if each.contender.count is not None:
                each.counts = each.contender.count()
        gc.collect()
        gc.freeze()
        rounds = 1 if job.once else settings.rounds
        strides = {
            each.contender.key: 1 if job.once else _calibrate(each, settings)
            for each in figures.values()
        }
        order = list(figures.values())
        for turn in range(rounds):
            # Nobody always comes after the same one.
            for each in order[turn % len(order) :] + order[: turn % len(order)]:
                if turn % strides[each.contender.key] == 0:
                    _take_turn(each, turn)
        gc.unfreeze()
        result = Result(job, figures)
        runner = result.kairos.contender.runner
        if settings.profile and isinstance(runner, Local):
            runner.prepare(rounds)
            result.profile = profile(runner.once, settings.profile)
        return result


def _calibrate(figures: Figures, settings: Settings) -> int:
    """Find out how often an operation fits into a turn, and in which turns it runs."""
    runner = figures.contender.runner
    runner.prepare(-1)
    seconds = runner.measure(1).wall
    if not runner.single and seconds < settings.turn:
        runner.measure(_WARM_UP)
        seconds = min(runner.measure(_WARM_UP).wall, seconds)
        figures.times = max(1, int(settings.turn / seconds))
    turns = max(_FEWEST, int(settings.budget / (figures.times * seconds)))
    return -(-settings.rounds // min(settings.rounds, turns))


def _take_turn(figures: Figures, turn: int) -> None:
    runner, units = figures.contender.runner, figures.contender.units
    runner.prepare(turn)
    wall, cpu = runner.measure(figures.times)
    figures.samples[turn] = Sample(wall / units, cpu / units)
