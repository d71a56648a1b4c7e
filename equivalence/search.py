"""What every search shares: it runs traces through the driver and keeps what they show.

A search says what to do next (:mod:`equivalence.sampler`, :mod:`equivalence.machine`, a replay);
a :class:`Session` does it on both sides and collects :class:`Findings`, which can be sent between
processes and added up in a fixed order, so that results do not depend on timing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from equivalence.driver import ALIVE, FaultError, Lockstep
from equivalence.schedule import Schedule, parse_schedule
from equivalence.subject import (
    Concurrent,
    Evidence,
    Goal,
    Observation,
    Ran,
    Subject,
    System,
    WorldError,
)
from models.schema.divergence import Divergence
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Scalar, Trace

#: Bounds on what one search remembers, so that memory does not grow with the run.
MAX_STATES: Final = 100_000
MAX_NOVEL: Final = 64
MAX_DEFECTS: Final = 50
#: Every so many traces, invariants and whole observations are checked after each operation.
THOROUGH_EVERY: Final = 128

Points = dict[str, frozenset[str]]
Rows = dict[str, Counter[tuple[Scalar, ...]]]
#: A row of a predicate: its name and the inputs.
Row = tuple[str, tuple[Scalar, ...]]


class Novel(NamedTuple):
    """A trace that reached something that none before it had, and in which functions."""

    trace: Trace
    functions: frozenset[str]


@dataclass(slots=True)
class Side:
    """What the code of one side reached: function -> points, predicate -> inputs -> count.

    ``coverable`` has all points of the watched functions.
    """

    covered: Points = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)
    coverable: Points = field(default_factory=dict)

    @classmethod
    def of(cls, system: Evidence) -> Side:
        """What a system has seen since it was asked to forget."""
        rows = {name: Counter(counts) for name, counts in system.rows().items()}
        return cls(dict(system.covered()), rows, dict(system.coverable()))

    @property
    def wanting(self) -> frozenset[str]:
        """The functions of which something has not run."""
        none: frozenset[str] = frozenset()
        return frozenset(
            name for name, points in self.coverable.items() if points - self.covered.get(name, none)
        )

    def points(self) -> Points:
        """All that was reached, inputs of predicates too: what is not among it is new."""
        inputs = {inputs_of(p): frozenset(map(str, counts)) for p, counts in self.rows.items()}
        return {**self.covered, **inputs}

    def add(self, other: Side) -> None:
        """Add what a search reached."""
        for function, points in other.covered.items():
            self.covered[function] = self.covered.get(function, frozenset()) | points
        for predicate, counts in other.rows.items():
            self.rows.setdefault(predicate, Counter()).update(counts)
        self.coverable.update(other.coverable)


@dataclass(slots=True)
class Findings:
    """What searches of one pair showed."""

    ops: int = 0
    traces: int = 0
    #: (kind of operation, how it ended) -> count.
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    divergence: tuple[Trace, Divergence] | None = None
    fault: tuple[Trace, str] | None = None
    #: Broken invariant -> what it said, and a trace at whose end it is broken.
    defects: dict[str, tuple[str, Trace]] = field(default_factory=dict)
    goals: set[str] = field(default_factory=set)
    states: set[int] = field(default_factory=set)
    #: Traces that reached points of the code that no trace before them had reached.
    novel: list[Novel] = field(default_factory=list)
    #: The first trace to each row of a predicate that no search before had reached.
    reached: dict[Row, Trace] = field(default_factory=dict)
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    truncated: bool = False

    @property
    def over(self) -> bool:
        """Whether the search has found what it looks for, or cannot go on."""
        return self.divergence is not None or self.fault is not None

    def add(self, other: Findings) -> None:
        """Add what a later search showed."""
        self.ops += other.ops
        self.traces += other.traces
        self.outcomes.update(other.outcomes)
        self.divergence = self.divergence or other.divergence
        self.fault = self.fault or other.fault
        self.defects = {**other.defects, **self.defects}
        self.goals |= other.goals
        if len(self.states) < MAX_STATES:
            self.states |= other.states
        self.novel += other.novel
        self.reached = {**other.reached, **self.reached}
        self.before.add(other.before)
        self.after.add(other.after)
        self.truncated |= other.truncated


class Session:
    """One search of one pair: begins traces, runs operations on both sides, ends traces.

    ``known`` are defects not to report again, ``seen`` the points that earlier searches reached on
    either side; ``stop`` is asked before every trace.
    """

    def __init__(
        self,
        subject: Subject,
        lockstep: Lockstep,
        known: Iterable[str] = (),
        stop: Callable[[], bool] = lambda: False,
        seen: tuple[Points, Points] = ({}, {}),
    ) -> None:
        self.subject = subject
        self.lockstep = lockstep
        self.stop = stop
        self.findings = Findings()
        self._known = set(known)
        self._invariants = list(subject.invariants)
        self._goals = _by_kind(subject.goals)
        self._sides = (lockstep.before, lockstep.after)
        self._seen = (dict(seen[0]), dict(seen[1]))
        self._progress = [0, 0]
        #: Of each side: predicate -> how many inputs it was seen with.
        self._counted: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._world: Args = {}
        self._ops: list[Op] = []
        self._schedule = ""
        self._thorough = False
        #: Whether the trace that runs now diverged or showed a fault.
        self.failed = False
        #: Whether to draw operations ahead of their outcomes, to run several in one call.
        self.ahead = lockstep.in_batches
        for system in self._sides:
            if isinstance(system, Evidence):
                system.forget()

    @property
    def going(self) -> bool:
        """Whether the trace that runs now can go on."""
        return not (self.failed or self.lockstep.dead)

    @property
    def outcome(self) -> Outcome:
        """What the last operation returned on the first side."""
        return self.lockstep.outcome

    def begin(self, world: Args, thorough: bool | None = None) -> bool:
        """Boot both sides for a new trace; False when the search is over.

        ``thorough`` asks for invariants and whole observations after every operation; by default
        every :data:`THOROUGH_EVERY`-th trace is.
        """
        self._world = world
        self._ops = []
        self._schedule = ""
        self.failed = False
        traces = self.findings.traces
        self._thorough = traces % THOROUGH_EVERY == 0 if thorough is None else thorough
        self.findings.traces = traces + 1
        try:
            divergence = self.lockstep.boot(world)
        except (FaultError, WorldError) as error:
            self._fault(error)
            return False
        if divergence is not None:
            self._diverged(divergence)
            return False
        return True

    def step(self, op: Op) -> bool:
        """Run one operation; False when the trace cannot go on."""
        self._ops.append(op)
        lockstep = self.lockstep
        try:
            divergence = lockstep.step(op)
            outcome = lockstep.outcome
            self.saw(op, outcome)
            if outcome.warnings or lockstep.dead:
                self._speaking(outcome)
            if divergence is not None:
                self._diverged(divergence)
                return False
            if self._thorough and not lockstep.dead:
                self._check_invariants(lockstep.audit())
        except FaultError as error:
            self._fault(error)
            return False
        return not lockstep.dead

    def steps(self, ops: Sequence[Op]) -> Sequence[Outcome]:
        """Run operations in one call where the sides can; the outcomes of those that ran.

        Whether the trace can go on is told by ``going``.
        """
        if not (self.ahead and not self._thorough):
            return list(self._one_by_one(ops))
        lockstep = self.lockstep
        try:
            ran = lockstep.steps(ops)
        except FaultError as error:
            self._ops += ops
            self._fault(error)
            return ()
        if ran is None:
            return self._closer(ops)
        self._ran(ran)
        outcomes = ran.outcomes
        counts, goals = self.findings.outcomes, self._goals
        for op, outcome in zip(ops, outcomes, strict=False):
            self._ops.append(op)
            counts[op.kind, outcome.errno or outcome.signal or outcome.ending] += 1
            if outcome.warnings or outcome.fatal:
                self._speaking(outcome)
            if goals:
                self._ask_goals(op, outcome)
        return outcomes

    def _ran(self, ran: Ran) -> None:
        """Several operations agreed: for who wants to know more."""

    def _one_by_one(self, ops: Iterable[Op]) -> Iterator[Outcome]:
        for op in ops:
            going = self.step(op)
            if self.failed:
                return
            yield self.lockstep.outcome
            if not going:
                return

    def _closer(self, ops: Sequence[Op]) -> Sequence[Outcome]:
        """The sides may differ somewhere in these operations: run the trace again up to here."""
        try:
            divergence = self.lockstep.run(self.trace())
        except FaultError as error:
            self._fault(error)
            return ()
        if divergence is not None:
            self._diverged(divergence)
            return ()
        return list(self._one_by_one(ops))

    def saw(self, op: Op, outcome: Outcome) -> None:
        """Count what an operation came to, and ask the goals about it."""
        key = op.kind, outcome.errno or outcome.signal or outcome.ending
        self.findings.outcomes[key] += 1
        if self._goals:
            self._ask_goals(op, outcome)

    def step_together(self, ops: tuple[Op, ...], schedule: Schedule, *, stay: bool = False) -> bool:
        """Run operations together under one schedule; False when the trace cannot go on.

        Unless they ``stay``, they count as spent but are part of the trace only if something is
        found: the caller goes back and runs them under another schedule.
        """
        lockstep = self.lockstep
        alone = len(self._ops)
        self._ops.extend(ops)
        self._schedule = str(schedule)
        try:
            divergence = lockstep.together(ops, schedule)
            for outcome in lockstep.outcomes:
                if outcome.warnings or outcome.fatal:
                    self._speaking(outcome)
            for name, detail in order_defects(lockstep.inversions):
                self._defect(name, detail)
            if divergence is not None:
                self._diverged(divergence)
            elif self._thorough and not lockstep.dead:
                self._check_invariants(lockstep.audit())
        except FaultError as error:
            self._fault(error)
        if not (stay or self.findings.over):
            self.findings.ops += len(ops)
            del self._ops[alone:]
            self._schedule = ""
        return not self.findings.over and not lockstep.dead

    def end(self) -> None:
        """The trace is over: look at its last state and at what it reached."""
        findings = self.findings
        findings.ops += len(self._ops)
        if not (self.failed or self.lockstep.dead):
            self._check_invariants()
            if len(findings.states) < MAX_STATES:
                state = repr(self.lockstep.before.digest("state"))
                findings.states.add(int.from_bytes(blake2b(state.encode(), digest_size=8).digest()))
        functions = self._new_points()
        if functions and len(findings.novel) < MAX_NOVEL:
            findings.novel.append(Novel(self.trace(), functions))

    def close(self) -> Findings:
        """Take in what both sides covered, and return everything."""
        findings = self.findings
        sides = (findings.before, findings.after)
        for system, side in zip(self._sides, sides, strict=True):
            if isinstance(system, Evidence):
                side.add(Side.of(system))
        return findings

    def _new_points(self) -> frozenset[str]:
        """In which functions the trace reached something new."""
        new: set[str] = set()
        for place, system in enumerate(self._sides):
            if isinstance(system, Evidence):
                seen, progress = self._seen[place], system.progress()
                if progress == self._progress[place]:
                    continue
                self._progress[place] = progress
                reached = dict(system.covered())
                counted = self._counted[place]
                for predicate, counts in system.rows().items():
                    if len(counts) != counted.get(predicate):
                        counted[predicate] = len(counts)
                        name = inputs_of(predicate)
                        self._note_reached(predicate, counts, seen.get(name, frozenset()))
                        reached[name] = frozenset(map(str, counts))
                for function, points in reached.items():
                    known = seen.get(function, frozenset())
                    if points is not known and not points <= known:
                        # The same set, if it can be: then the next look at it is cheap.
                        seen[function] = known | points if known - points else points
                        new.add(function)
        return frozenset(new)

    def _note_reached(
        self, predicate: str, counts: Iterable[tuple[Scalar, ...]], known: frozenset[str]
    ) -> None:
        for inputs in counts:
            if str(inputs) not in known and (predicate, inputs) not in self.findings.reached:
                self.findings.reached[predicate, inputs] = self.trace()

    def trace(self) -> Trace:
        """The trace that runs now, as far as it has come."""
        return Trace(self.subject.name, dict(self._world), tuple(self._ops), self._schedule)

    def _diverged(self, divergence: Divergence) -> None:
        self.failed = True
        if self.findings.divergence is None:
            self.findings.divergence = self.trace(), divergence

    def _fault(self, error: Exception) -> None:
        self.failed = True
        if self.findings.fault is None:
            self.findings.fault = self.trace(), str(error)

    def _ask_goals(self, op: Op, outcome: Outcome) -> None:
        for kind in (op.kind, None):
            if kind not in self._goals:
                continue
            for goal in [g for g in self._goals[kind] if g.reached(op, outcome)]:
                self.findings.goals.add(goal.name)
                self._goals[kind].remove(goal)
            if not self._goals[kind]:
                del self._goals[kind]

    def _speaking(self, outcome: Outcome) -> None:
        for name, detail in outcome_defects(outcome):
            self._defect(name, detail)

    def _check_invariants(self, seen: Observation | None = None) -> Observation:
        before = self.lockstep.before.observe() if seen is None else seen
        for name, detail in broken(before, self.subject):
            self._defect(name, detail)
        if self.lockstep.oracle.relation == "user" or not self.lockstep.oracle.by_digest:
            for name, detail in broken(self.lockstep.after.observe(), self.subject):
                self._defect(name, detail)
        return before

    def _defect(self, name: str, detail: str) -> None:
        if name not in self._known and len(self._known) < MAX_DEFECTS:
            self._known.add(name)
            self.findings.defects[name] = detail, self.trace()


def broken(observation: Observation, subject: Subject) -> Iterator[tuple[str, str]]:
    """The invariants that a state breaks, and what each says."""
    for invariant in subject.invariants:
        detail = invariant.check(observation)
        if detail is not None:
            yield invariant.name, detail


def outcome_defects(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """What the kernel itself calls wrong: warnings, and endings from which it does not go on.

    Running into what is not modelled is no defect of the code under check. Where an operation that
    never ends was stopped is chance, so all hangs are one defect.
    """
    for text in outcome.warnings:
        yield f"warning: {text}", text
    if outcome.ending == "hang":
        yield "hang", outcome.detail
    elif outcome.ending not in ALIVE and outcome.ending != "unmodelled":
        yield f"{outcome.ending}: {outcome.detail}", outcome.detail


def order_defects(inversions: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Locks that were taken in either order: other tasks could each hold one and wait for ever."""
    for one, other in inversions:
        yield f"lock order: {one} and {other}", f"{one} and {other} are taken in either order"


def play(
    system: System, trace: Trace
) -> Iterator[tuple[int, tuple[Outcome, ...], tuple[tuple[str, str], ...]]]:
    """Run a trace's operations on a booted system: of each its index, outcome, and no locks; of
    those that run together the last one's index, all outcomes, and locks taken in either order.
    """
    ops = trace.ops
    schedule = parse_schedule(trace.schedule) if trace.schedule else Schedule(len(ops), 0)
    group = ops[schedule.at : schedule.at + schedule.tasks]
    for index, op in enumerate(ops[: schedule.at]):
        yield index, (system.apply(op),), ()
    if group:
        assert isinstance(system, Concurrent), "what a schedule was found on can run it"
        joint = system.apply_together(group, schedule.switches)
        yield schedule.at + len(group) - 1, joint.outcomes, joint.inversions
    for index in range(schedule.at + len(group), len(ops)):
        yield index, (system.apply(ops[index]),), ()


def defects_in(system: System, trace: Trace, subject: Subject) -> Iterator[tuple[int, str, str]]:
    """What one system alone breaks in a trace: after which operation (-1: boot), name, detail.

    Raises:
        WorldError: the world cannot boot.
    """
    system.boot(trace.world)
    for name, detail in broken(system.observe(), subject):
        yield -1, name, detail
    for index, outcomes, inversions in play(system, trace):
        said = (found for outcome in outcomes for found in outcome_defects(outcome))
        for name, detail in (*said, *order_defects(inversions)):
            yield index, name, detail
        if any(outcome.ending not in ALIVE for outcome in outcomes):
            return
        for name, detail in broken(system.observe(), subject):
            yield index, name, detail


def defect_index(system: System, trace: Trace, name: str, subject: Subject) -> int | None:
    """Index of the operation after which one system alone first shows a defect, or None.

    Raises:
        WorldError: the world cannot boot.
    """
    shown = (index for index, found, _ in defects_in(system, trace, subject) if found == name)
    return next(shown, None)


def replay(session: Session, traces: Iterable[Trace], thorough: bool | None = None) -> None:
    """Run given traces until one diverges; ``thorough`` as in :meth:`Session.begin`.

    Traces in which operations run together are left out where a side cannot do that.
    """
    sides = (session.lockstep.before, session.lockstep.after)
    concurrent = all(isinstance(system, Concurrent) for system in sides)
    for trace in traces:
        if trace.schedule and not concurrent:
            continue
        if session.findings.over:
            return
        if session.stop():
            session.findings.truncated = True
            return
        if session.begin(trace.world, thorough):
            _play(session, trace)
        session.end()


def _play(session: Session, trace: Trace) -> None:
    """Run a trace's operations as far as they go."""
    ops = trace.ops
    if trace.schedule:
        schedule = parse_schedule(trace.schedule)
        end = schedule.at + schedule.tasks
        group, ops = ops[schedule.at : end], ops[end:]
        if not all(map(session.step, trace.ops[: schedule.at])):
            return
        if group and not session.step_together(group, schedule, stay=True):
            return
    session.steps(ops)


def inputs_of(predicate: str) -> str:
    """The name under which a predicate's inputs are kept beside the points of functions."""
    return f"predicate {predicate}"


def _by_kind(goals: Iterable[Goal]) -> dict[str | None, list[Goal]]:
    kinds: dict[str | None, list[Goal]] = {}
    for goal in goals:
        kinds.setdefault(goal.kind, []).append(goal)
    return kinds
