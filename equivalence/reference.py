"""What the original does on many traces, remembered, so that a mutant need only be run itself.

A trace can tell a mutant from the original only if it runs the statement that the mutant changes.
So the original runs every trace once, with reports of what ran, and a mutant is tried on the traces
that run its statement, the shortest first, against the results that are remembered. What is
remembered of a state is a hash of its digest: a difference is a difference, and is confirmed in
lockstep; two states of one hash that differ are taken for equal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from equivalence.driver import ALIVE, FaultError, Lockstep
from equivalence.explorer import Bounds, Expander, Expansion, Exploration, Part, SmallWorld, explore
from equivalence.mutants import Mutant
from equivalence.sampler import sample
from equivalence.search import Session
from equivalence.subject import Concurrent, Evidence, Relation, Subject, System
from models.schema.outcome import Outcome
from models.schema.trace import Trace

#: The search that replays the subject's examples, which every run does first.
EXAMPLES: Final = "examples"
#: The original is checked by every other run; a mutant counts when it differs.
NO_INVARIANTS: Final = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A trace, the search that it comes from, and what the original does on it.

    ``log`` has for the boot and for each operation the outcome and a hash of the state after it;
    it is empty for a trace in which operations run together, which is always run in lockstep.
    """

    search: str
    trace: Trace
    log: tuple[tuple[Outcome | None, int], ...]


class Reference:
    """The original of a step, on the subject's examples and on traces drawn from a seed.

    ``watched`` is a system of the original that reports what ran in the functions that are mutated.
    """

    def __init__(self, subject: Subject, watched: System, lockstep: Lockstep) -> None:
        assert isinstance(watched, Evidence)
        self._subject = subject
        self._watched = watched
        self._evidence: Evidence = watched
        self._lockstep = lockstep
        self._relation: Relation = lockstep.oracle.relation
        self._known: list[Known] = []
        #: Function -> the lines of its statements, sorted.
        self._lines = {
            name: sorted({line for point in points if (line := _line(point))})
            for name, points in watched.coverable().items()
        }
        #: Function and line -> the traces that run it, by their place in the list.
        self._ran: dict[tuple[str, int], list[int]] = {}
        self._worlds: dict[str, frozenset[tuple[str, int]]] = {}
        #: All points that each trace reached, and the order in which traces are tried on mutants of
        #: a function.
        self._points: list[Mapping[str, frozenset[str]]] = []
        self._ranks: dict[str, dict[int, int]] = {}

    def add_examples(self) -> None:
        """Run the traces that every run replays first, as far as the tier can."""
        together = isinstance(self._watched, Concurrent)
        for trace in self._subject.examples():
            if together or not trace.schedule:
                self._add(EXAMPLES, trace)

    def add_drawn(self, seed: int, ops: int) -> None:
        """Draw traces of ``ops`` operations in all, as the sampler does, and run them."""
        drawn: list[Trace] = []

        class Drawing(Session):
            def end(self) -> None:
                drawn.append(self.trace())
                super().end()

        session = Drawing(self._subject, self._lockstep, NO_INVARIANTS)
        sample(session, self._subject.generator(), Random(seed), ops)
        if session.findings.over:
            msg = "the original does not agree with itself"
            raise FaultError(msg, "original")
        for trace in drawn:
            self._add("sampler", trace)

    def add_world(self, small: SmallWorld, states: int) -> None:
        """Note what runs when a small world is explored up to a number of states."""
        found = explored(self._subject, self._beside(), small, states)
        self._worlds[small.name] = frozenset(_lines_of(found.findings.before.covered))

    def traces_for(self, mutant: Mutant) -> Iterator[Known]:
        """The traces that run what a mutant changes, in the order that finds most bugs soonest.

        First those that reach what no shorter one does in the function, then all others, examples
        before drawn ones; each from the shortest to the longest.
        """
        name = mutant.function
        if len(self._ranks.get(name, {})) != len(self._known):
            self._ranks[name] = dict(self._ranked(name))
        places = self._ran.get((name, self._line(mutant)), ())
        for place in sorted(places, key=self._ranks[name].__getitem__):
            yield self._known[place]

    def _ranked(self, name: str) -> Iterator[tuple[int, int]]:
        def key(place: int) -> tuple[bool, int]:
            known = self._known[place]
            return known.search != EXAMPLES, len(known.trace.ops)

        met: set[str] = set()
        first: list[int] = []
        rest: list[int] = []
        for place in sorted(range(len(self._known)), key=key):
            points = self._points[place].get(name, frozenset())
            (rest if points <= met else first).append(place)
            met |= points
        yield from ((place, rank) for rank, place in enumerate([*first, *rest]))

    def is_run_in(self, mutant: Mutant, small: SmallWorld) -> bool:
        """Whether exploring a small world runs what a mutant changes."""
        return (mutant.function, self._line(mutant)) in self._worlds[small.name]

    def is_run(self, mutant: Mutant) -> bool:
        """Whether any trace or world runs what a mutant changes."""
        place = mutant.function, self._line(mutant)
        return place in self._ran or any(place in ran for ran in self._worlds.values())

    def _line(self, mutant: Mutant) -> int:
        """The line of the statement that a mutant changes: where that begins."""
        lines = self._lines.get(mutant.function, [])
        return lines[max(0, bisect_right(lines, mutant.line) - 1)] if lines else 0

    def _add(self, search: str, trace: Trace) -> None:
        self._evidence.forget()
        if trace.schedule:
            log: tuple[tuple[Outcome | None, int], ...] = ()
            self._beside().run(trace)
        else:
            log = tuple(_log(self._watched, trace, self._relation))
        covered = self._evidence.covered()
        self._points.append(covered)
        for place in _lines_of(covered):
            self._ran.setdefault(place, []).append(len(self._known))
        self._known.append(Known(search, trace, log))

    def _beside(self) -> Lockstep:
        return Lockstep(self._watched, self._lockstep.before, self._lockstep.oracle)


def _lines_of(covered: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, int]]:
    for name, points in covered.items():
        yield from ((name, line) for point in points if (line := _line(point)))


def _line(point: str) -> int:
    """The line that a point stands for, with its file before it or not; 0: it is no line's."""
    file, colon, number = point.rpartition(":")
    return int(number) if number.isdecimal() and not (colon and file.isdecimal()) else 0


def _log(system: System, trace: Trace, relation: Relation) -> Iterator[tuple[Outcome | None, int]]:
    system.boot(trace.world)
    yield None, _token(system, relation)
    for op in trace.ops:
        outcome = system.apply(op)
        yield outcome, _token(system, relation) if outcome.ending == "returned" else 0
        if outcome.ending not in ALIVE:
            return


def _token(system: System, relation: Relation) -> int:
    return hash((system.digest(relation), system.drain_effects()))


def first_difference(
    known: Known, system: System, relation: Relation, tick: Callable[[], None]
) -> int | None:
    """The index of the operation after which a system first differs from the original; -1: after
    the boot; None: it never does. ``tick`` is called after each.

    Raises whatever the system raises.
    """
    system.boot(known.trace.world)
    if _token(system, relation) != known.log[0][1]:
        return -1
    for index, (op, (outcome, token)) in enumerate(
        zip(known.trace.ops, known.log[1:], strict=False)
    ):
        tick()
        got = system.apply(op)
        assert outcome is not None
        # Where an operation that never ends was stopped is chance: two hangs agree.
        if got != outcome and not got.ending == outcome.ending == "hang":
            return index
        if outcome.ending == "returned" and _token(system, relation) != token:
            return index
    return None


def explored(subject: Subject, lockstep: Lockstep, small: SmallWorld, states: int) -> Exploration:
    """A small world explored here, up to a number of states."""

    class Here:
        def map(self, jobs: Iterable[Expansion]) -> Generator[Part, None, None]:
            yield from (Expander(subject, lockstep).expand(job) for job in jobs)

    found = Exploration(small)
    explore(Here(), (0, 1), found, Bounds(states=states))
    return found
