"""The contract between the engine and what it checks.

A *subject* is the code and the series being checked; a *system* is one tier at one step of the
series, booted in one world. The engine asks through these protocols only and knows no kernel
names: the subject describes its operations, draws their arguments, and formats itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Scalar, Trace

Relation = Literal["user", "state", "effects"]

#: Canonical state after an operation: section name -> nested dicts, tuples and scalars.
Observation = Mapping[str, Any]


class WorldError(ValueError):
    """A world that cannot boot: the message names the key, what it was and what was expected."""


class System(Protocol):
    """One tier at one step of the series. Deterministic: same world, same trace, same results."""

    @property
    def sections(self) -> frozenset[str]:
        """The sections of the observation this system can show."""

    def boot(self, world: Args) -> None:
        """Start afresh in ``world``.

        Raises:
            WorldError: the world cannot boot.
        """

    def apply(self, op: Op) -> Outcome:
        """Run one operation; legal in any state, never raises for what an operation does."""

    def observe(self) -> Observation:
        """The canonical state: no Python ids, no addresses, folios renamed by first use."""

    def digest(self, relation: Relation) -> Hashable:
        """A cheap token: two are equal exactly if the state that ``relation`` compares is equal.

        Effects are compared by :meth:`drain_effects` and need not be part of it.
        """

    def drain_effects(self) -> tuple[str, ...]:
        """The calls into the environment that the last operation made, in order; forgets them."""

    def state_key(self) -> Hashable:
        """Like the digest, without monotone counters and history: equal keys behave alike."""

    def snapshot(self) -> object:
        """The state, to be given to :meth:`restore` of the same system."""

    def restore(self, snapshot: object) -> None:
        """Go back to a snapshot; the snapshot stays usable."""


@runtime_checkable
class Evidence(Protocol):
    """What a system linked for evidence has seen since it was made or last asked to forget.

    Points are texts such as ``"2963"`` (a line) and ``"2971:7 true"`` (a condition's outcome).
    """

    def coverable(self) -> Mapping[str, frozenset[str]]:
        """Function -> all points it has."""

    def covered(self) -> Mapping[str, frozenset[str]]:
        """Function -> the points that were reached."""

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        """Predicate -> input tuple -> how often it was evaluated with that input."""

    def progress(self) -> int:
        """A number that grows with every point and every input reached for the first time."""

    def forget(self) -> None:
        """Forget what was covered and counted, so that the next search is measured alone."""


class Ran(Protocol):
    """What several operations came to."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of each operation, up to the first that is fatal."""

    def agrees(self, other: Any, relation: Relation) -> bool:
        """Whether outcomes and states of both are surely the same, operation by operation; with
        False they may be, and a closer look decides."""

    def states(self, relation: Relation) -> tuple[Hashable, ...]:
        """The digest after each operation."""


@runtime_checkable
class Batch(Protocol):
    """A system that runs several operations, a whole trace even, in one call."""

    def send(self, ops: Sequence[Op], world: Args | None = None) -> None:
        """Start running the operations, after booting ``world`` if one is given.

        Raises:
            WorldError: the world cannot boot.
        """

    def receive(self) -> Ran:
        """Wait for them."""


class Joint(Protocol):
    """What operations that ran together came to."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of each operation."""

    @property
    def boundaries(self) -> tuple[tuple[int, str, str], ...]:
        """The lock boundaries passed: task, what was done, to which lock."""

    @property
    def inversions(self) -> tuple[tuple[str, str], ...]:
        """Pairs of locks that were taken in either order."""


@runtime_checkable
class Concurrent(Protocol):
    """A system that can run operations together, switching between them at lock boundaries."""

    def apply_together(self, ops: Sequence[Op], switches: Sequence[tuple[int, int]]) -> Joint:
        """Run the operations, one in each task; at boundary ``point`` switch to ``task``."""

    def snapshot(self) -> object:
        """As of a system."""

    def restore(self, snapshot: object) -> None:
        """As of a system."""

    def state_key(self) -> Hashable:
        """As of a system."""


class Branch(NamedTuple):
    """What an operation comes to in some state: its outcome, and digest and key of the next one."""

    outcome: Outcome
    digest: Hashable
    key: Hashable


@runtime_checkable
class Branching(Protocol):
    """A system that can try many operations in one state at once, cheaper than one after the other
    with going back in between.
    """

    def branches(self, ops: Sequence[Op], relation: Relation) -> Sequence[Branch | None]:
        """What each operation comes to in the present state, in which the system stays; None where
        it warns or ends the system, which has to be looked at by running it.
        """


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One kind of operation.

    ``domains`` names the legal values of each argument for mutation, shrinking and the explorer,
    smallest first; arguments that are not ``required`` may be left out.
    """

    kind: str
    domains: Mapping[str, Sequence[Scalar]]
    required: frozenset[str]
    about: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Invariant:
    """A fact that the code intends at quiescence, checked on each side alone."""

    name: str
    about: str
    check: Callable[[Observation], str | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that a run must have reached before its silence means anything.

    ``reached`` is asked after every operation until it says yes, so it looks only at the operation
    and its outcome; ``kind`` limits it to one kind of operation. A goal that is not ``required``
    is reported when missed, but does not make a search inadequate.
    """

    name: str
    about: str
    reached: Callable[[Op, Outcome], bool]
    kind: str | None = None
    required: bool = False


class Generator(Protocol):
    """Draws worlds and operations; remembers names in play from outcomes, nothing else."""

    def world(self, rng: Random) -> Args:
        """A world to boot."""

    def start(self, world: Args) -> None:
        """A new trace begins."""

    def op(self, rng: Random, kind: str | None = None) -> Op:
        """The next operation, of the given kind if one is given."""

    def saw(self, op: Op, outcome: Outcome) -> None:
        """What the operation did on the first side."""


@runtime_checkable
class Ahead(Protocol):
    """A generator that can go back, so that operations can be drawn before outcomes are known."""

    def mark(self) -> object:
        """What is remembered now."""

    def back(self, mark: Any) -> None:
        """Remember what was remembered at the mark, which is used up."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition that a patch changes: the old and the new expression over one domain.

    ``names`` are the inputs; ``domain`` lists all input tuples; ``old`` and ``new`` evaluate them.
    ``symbols`` name the functions whose bodies hold the condition before and after.

    In situ the inputs are read in the body of the function ``site``, right before the statement
    that calls ``anchor``: ``inputs`` are the expressions to evaluate there, one for each name.
    ``keep`` maps a variable that such an expression may use to the function whose last result in
    this activation it holds (None: not called).
    """

    name: str
    names: tuple[str, ...]
    domain: tuple[tuple[Scalar, ...], ...]
    old: Callable[..., bool]
    new: Callable[..., bool]
    symbols: tuple[str, ...] = ()
    site: str = ""
    anchor: str = ""
    inputs: tuple[str, ...] = ()
    keep: Mapping[str, str] = field(default_factory=dict)
    unreachable: Mapping[tuple[Scalar, ...], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Excluded:
    """What an observation leaves out of a section, and why that is right (in the code's terms)."""

    section: str
    field: str
    reason: str


class Subject(Protocol):
    """What is checked, as far as it does not depend on the tier: operations, worlds, invariants."""

    name: str
    ops: Mapping[str, OpSpec]
    #: World key -> its legal values, smallest first, for shrinking.
    worlds: Mapping[str, Sequence[Scalar]]
    invariants: Sequence[Invariant]
    goals: Sequence[Goal]
    #: The sections that user space can read: what the relation ``user`` compares.
    user_sections: frozenset[str]
    excluded: Sequence[Excluded]

    def generator(self) -> Generator:
        """A fresh generator of worlds and operations."""

    def check_world(self, world: Args) -> None:
        """Raise :class:`WorldError` unless ``world`` is one that this subject can boot."""

    def check_op(self, op: Op) -> None:
        """Raise ``TraceError`` unless ``op`` is of a known kind with known arguments."""

    def examples(self) -> Iterable[Trace]:
        """Traces that every run replays first."""


class PairText(NamedTuple):
    """What reproducers say of a pair of steps.

    ``about`` is one sentence, ``names`` what the two sides are called, ``series`` what ``--series``
    takes.
    """

    about: str
    names: tuple[str, str]
    steps: tuple[int, int]
    series: str


@runtime_checkable
class Reproducible(Protocol):
    """A subject whose traces can be run elsewhere, without equivcheck's engine."""

    def reproducers(
        self, trace: Trace, systems: tuple[System, System], told: PairText
    ) -> Mapping[str, str]:
        """Files by name, each of which makes a divergence happen."""


Role = Literal["changed", "added", "removed", "caller"]


@dataclass(frozen=True, slots=True)
class Change:
    """What one pair of steps does to one function, and which of its points must have run.

    ``before`` and ``after`` are the points (as in :class:`Evidence`) on changed lines, outcomes of
    changed conditions among them; empty for a caller. ``reasons`` says of a point why it cannot
    run.
    """

    function: str
    role: Role
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk of a patch that does not run here, and why: nothing is dropped in silence."""

    where: str
    fate: Literal["not compiled", "not hosted"]
    reason: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two steps, every hunk accounted for.

    ``identical`` says that the linked code is the same. ``undeclared`` names changed conditions for
    which no predicate is declared; ``only_predicates`` says that nothing but declared predicates
    changed.
    """

    identical: bool
    functions: tuple[Change, ...] = ()
    predicates: tuple[Predicate, ...] = ()
    hunks: tuple[Hunk, ...] = ()
    undeclared: tuple[str, ...] = ()
    only_predicates: bool = False


@dataclass(frozen=True, slots=True)
class PatchInfo:
    """A patch as results name it; ``declares_change``: it says of itself that behaviour changes."""

    name: str
    title: str
    declares_change: bool = False


class Tier(Protocol):
    """A series on one tier: makes systems of its steps and says how the steps differ."""

    name: str
    series: str
    #: Patch k (from 1) is ``patches[k - 1]``; steps are 0 (base) to ``len(patches)``.
    patches: Sequence[PatchInfo]
    #: What every verdict must state: architecture, configuration, compiler, and how coverage is
    #: measured (key ``coverage``).
    limits: Mapping[str, str]

    def obstacle(self, step: int) -> str | None:
        """Why a step cannot be run (does not apply, does not compile), or None."""

    def system(self, step: int, *, effects: bool = False, evidence: bool = True) -> System:
        """A fresh system of a step; with ``evidence`` it is an :class:`Evidence` too."""

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ."""
