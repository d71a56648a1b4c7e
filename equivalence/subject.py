"""The contract between the engine and what it checks.

A *subject* is the code and the series being checked; a *system* is one tier at one step of the
series, booted in one world. The engine asks through these protocols only and knows no kernel
names: the subject describes its operations, draws their arguments, and formats itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, Protocol

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
        """A cheap token: two are equal exactly if all that ``relation`` compares is equal.

        Under ``effects`` it includes the ordered calls into the environment since the last boot or
        the last call of :meth:`drain_effects`.
        """

    def drain_effects(self) -> tuple[str, ...]:
        """The calls into the environment that the last operation made, in order; forgets them."""

    def state_key(self) -> Hashable:
        """Like the digest, without monotone counters and history: equal keys behave alike."""

    def snapshot(self) -> object:
        """The state, to be given to :meth:`restore` of the same system."""

    def restore(self, snapshot: object) -> None:
        """Go back to a snapshot; the snapshot stays usable."""


class Evidence(Protocol):
    """What a system that was linked for evidence has seen since it was made (over all its boots).

    Points are texts such as ``"2963"`` (a line) and ``"2971:7 true"`` (a condition's outcome).
    """

    def coverable(self) -> Mapping[str, frozenset[str]]:
        """Function -> all points it has."""

    def covered(self) -> Mapping[str, frozenset[str]]:
        """Function -> the points that were reached."""

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        """Predicate -> input tuple -> how often it was evaluated with that input."""


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One kind of operation.

    ``draw`` makes arguments from a random source, biased by a view of what exists (the names in
    play, kept by the subject's generator); ``domains`` names the legal values of each argument
    for shrinking and for the explorer, smallest first.
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
    """Something that a run must have reached before its silence means anything."""

    name: str
    about: str


class Generator(Protocol):
    """Draws worlds and operations; remembers names in play from outcomes, nothing else."""

    def world(self, rng: Random) -> Args:
        """A world to boot."""

    def start(self, world: Args) -> None:
        """A new trace begins."""

    def op(self, rng: Random) -> Op:
        """The next operation."""

    def saw(self, op: Op, outcome: Outcome) -> None:
        """What the operation did on the first side."""


@dataclass(frozen=True, slots=True)
class PredicateRow:
    """One input of a changed predicate and what the old and the new expression answer."""

    inputs: tuple[tuple[str, Scalar], ...]
    old: bool
    new: bool


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


class Subject(Protocol):
    """The code and the series being checked."""

    name: str
    ops: Mapping[str, OpSpec]
    invariants: Sequence[Invariant]

    def generator(self) -> Generator:
        """A fresh generator of worlds and operations."""

    def check_world(self, world: Args) -> None:
        """Raise :class:`WorldError` unless ``world`` is one that this subject can boot."""

    def check_op(self, op: Op) -> None:
        """Raise ``TraceError`` unless ``op`` is of a known kind with known arguments."""

    def examples(self) -> Iterable[Trace]:
        """Traces that every run replays first."""
