"""What the engine tells while it runs. Consumers plug in without the engine knowing them.

Events say nothing that the result does not say, apart from progress; they are told in the process
that called :func:`equivalence.gate.run`, in an order that does not depend on the number of jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equivalence.explorer import Exploring
from models.schema.result import Against, Counterexample, Defect, Pair, Result


@dataclass(frozen=True, slots=True)
class PairName:
    """Which pair an event is about: steps, the patch's name, and what it is checked against."""

    before: int
    after: int
    patch: str
    against: Against


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The pairs that will be checked, and the budget of each in operations."""

    pairs: tuple[PairName, ...]
    ops: int


@dataclass(frozen=True, slots=True)
class PairStarted:
    """The search of one pair begins."""

    pair: PairName


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the search of one pair has come; ``ops`` of ``budget`` operations."""

    pair: PairName
    ops: int
    budget: int
    traces: int
    states: int


@dataclass(frozen=True, slots=True)
class ExploreProgress:
    """How far the exploration of one world of a pair has come."""

    pair: PairName
    exploring: Exploring


@dataclass(frozen=True, slots=True)
class Shrinking:
    """A trace is being made minimal; ``what`` is the field that differs, or the invariant."""

    what: str
    ops: int


@dataclass(frozen=True, slots=True)
class Mutating:
    """Bugs are planted in the functions that a pair touches, to see whether they are found."""

    pair: PairName


@dataclass(frozen=True, slots=True)
class DivergenceFound:
    """A counterexample, made minimal."""

    pair: PairName
    counterexample: Counterexample


@dataclass(frozen=True, slots=True)
class DefectFound:
    """A broken invariant, its trace made minimal."""

    defect: Defect


@dataclass(frozen=True, slots=True)
class PairFinished:
    """What is said of one pair."""

    pair: PairName
    result: Pair
    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something beside the checks went wrong: a store that cannot be written, for example."""

    text: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run ends early: the time limit was reached, or it was interrupted."""

    reason: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The whole result."""

    result: Result


Event = (
    RunStarted
    | PairStarted
    | Progress
    | ExploreProgress
    | Shrinking
    | Mutating
    | DivergenceFound
    | DefectFound
    | PairFinished
    | Note
    | Stopped
    | RunFinished
)
OnEvent = Callable[[Event], None]
