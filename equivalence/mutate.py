"""Do the searches catch planted bugs? Each mutant of a step is searched for against that step.

The searches go from cheap to thorough: the traces that every run replays, traces drawn by the
sampler, then the small worlds, each up to a number of states; of all only what runs the statement
that the mutant changes (:mod:`equivalence.reference`). A mutant is *killed* by the first that tells
it from the original: by a divergence, because it raises (a crash in the C), or because it does not
come back. A mutant that survives is either explained (it cannot be told apart, for the reason
given) or a hole in the searches. What would not compile in C is counted apart.

What a score does not show: that bugs of other kinds would be found. The operators are small, single
changes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from random import Random
from typing import Final, Protocol, runtime_checkable

from equivalence.driver import FaultError, Lockstep
from equivalence.explorer import SmallWorld
from equivalence.mutants import Mutant
from equivalence.oracle import oracle_for
from equivalence.races import Tasked, race
from equivalence.reference import NO_INVARIANTS, Known, Reference, explored, first_difference
from equivalence.search import Findings, Session
from equivalence.shrink import Shrinker
from equivalence.subject import Concurrent, Relation, Subject, System, WorldError
from models.schema.divergence import Divergence
from models.schema.trace import Trace, format_trace

#: An operation that takes more processor time does not come back.
HANG_S: Final = 1.5
#: How many traces are run to make a killing trace smaller.
SHRINK_LIMIT: Final = 400


class RefusedError(ValueError):
    """A mutant that does not compile."""


class Workshop(Protocol):
    """Makes systems of one step and of its mutants."""

    def original(self) -> System:
        """The step as it is."""

    def watched(self) -> System:
        """The step as it is, reporting what runs in the functions that are mutated."""

    def mutated(self, mutant: Mutant) -> System:
        """The step with a bug planted.

        Raises:
            RefusedError: the mutant does not compile.
        """


@runtime_checkable
class Closing(Protocol):
    """A system that keeps something running."""

    def close(self) -> None:
        """End it."""


class Planter(Protocol):
    """Knows where bugs can be planted in a series on one tier."""

    def touched(self, before: int, after: int) -> Sequence[Mutant]:
        """Mutants of the functions that a pair of steps touches, as the second one has them."""

    def chosen(self, mutants: Sequence[Mutant]) -> Sequence[Mutant]:
        """Those of a pair's mutants that are worth their price."""

    def has(self, step: int, function: str) -> bool:
        """Whether a step has a function."""

    def named(self, step: int, functions: Sequence[str]) -> Sequence[Mutant]:
        """Mutants of functions of a step."""

    def mark(self, step: int) -> str:
        """What stands for the whole code of a step."""

    def workshop(self, step: int, mutants: Sequence[Mutant], relation: Relation) -> Workshop:
        """What makes systems of a step and of these mutants."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard each mutant is searched for.

    Traces of ``ops`` operations in all are drawn. Of those and the examples, a mutant is tried on
    such as run what it changes, until ``tries`` operations were run. Each small world is explored
    up to ``states``. Operations of two tasks are run together for ``raced`` operations.
    """

    ops: int = 5_000
    tries: int = 6_000
    states: int = 300
    raced: int = 0
    seed: int = 0
    relation: Relation = "state"
    shrink: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one mutant.

    ``killed_by`` is the search ("" if it survived), ``how`` one of diverged, crashed, hangs.
    ``ops`` and ``seconds`` were spent on it. ``trace`` is the text of a trace that tells it apart,
    where there is one. ``compiles`` is false where a compiler of C refuses the change, or would: on
    the ports because the types say so, or because running it failed as only a wrong type does. Such
    a mutant says nothing of the searches, and counts neither as killed nor as a survivor. ``ran``
    says whether any trace or world ran what the mutant changes.
    """

    mutant: Mutant
    killed_by: str = ""
    how: str = ""
    field: str = ""
    ops: int = 0
    seconds: float = 0.0
    trace: str = ""
    compiles: bool = True
    ran: bool = True

    @property
    def killed(self) -> bool:
        """Whether a search told it from the original, and it would be a program in C."""
        return self.compiles and bool(self.killed_by)

    @property
    def survived(self) -> bool:
        """Whether everything was tried in vain."""
        return self.compiles and not self.killed_by


class Hunter:
    """Searches for mutants of one step, one after the other.

    Raises:
        FaultError: the original step fails by itself.
    """

    def __init__(
        self,
        subject: Subject,
        workshop: Workshop,
        worlds: Sequence[SmallWorld],
        plan: Plan,
    ) -> None:
        self._subject = subject
        self._workshop = workshop
        self._worlds = worlds
        self._plan = plan
        self._original = workshop.original()
        self._watched = workshop.watched()
        self._reference = Reference(subject, self._watched, self._lockstep(self._watched))
        self._prepare()

    def _prepare(self) -> None:
        """See what the original does."""
        try:
            self._reference.add_examples()
            self._reference.add_drawn(self._plan.seed, self._plan.ops)
            for small in self._worlds:
                self._reference.add_world(small, self._plan.states)
        except Exception as error:
            msg = f"the original step fails by itself: {type(error).__name__}: {error}"
            raise FaultError(msg, "original") from error

    def close(self) -> None:
        """End what the original runs in."""
        for system in (self._original, self._watched):
            if isinstance(system, Closing):
                system.close()

    def hunt(self, mutant: Mutant) -> Fate:
        """Search until the mutant is told from the original, or everything was tried."""
        fate = Fate(mutant, compiles=mutant.compiles, ran=self._reference.is_run(mutant))
        if not mutant.compiles:
            return fate
        started = time.monotonic()
        try:
            system = self._workshop.mutated(mutant)
        except RefusedError as error:
            return replace(fate, field=str(error), compiles=False)
        lockstep = self._lockstep(system)
        try:
            with watchdog(lockstep):
                for found in self._searches(mutant, system, lockstep):
                    fate = replace(fate, ops=fate.ops + found.ops)
                    if found.why:
                        fate = self._killed(fate, found, lockstep)
                        break
        finally:
            if isinstance(system, Closing):
                system.close()
        return replace(fate, seconds=time.monotonic() - started)

    def _lockstep(self, system: System) -> Lockstep:
        sections = self._subject.user_sections
        oracle = oracle_for(self._original, system, self._plan.relation, sections)
        return Lockstep(self._original, system, oracle)

    def _searches(self, mutant: Mutant, system: System, lockstep: Lockstep) -> Iterator[_Found]:
        tried = 0
        for known in self._reference.traces_for(mutant):
            found = self._tried(known, system, lockstep)
            yield found
            tried += found.ops
            if tried >= self._plan.tries:
                break
        for small in self._worlds:
            if self._reference.is_run_in(mutant, small):
                yield self._explored(lockstep, small)
        together = isinstance(system, Concurrent) and isinstance(self._subject, Tasked)
        if self._plan.raced and together:
            yield self._raced(lockstep)

    def _tried(self, known: Known, system: System, lockstep: Lockstep) -> _Found:
        begun = lockstep.ticks
        trace = known.trace

        def tick() -> None:
            lockstep.ticks += 1

        try:
            if known.log:
                index = first_difference(known, system, self._plan.relation, tick)
                ops = lockstep.ticks - begun
                if index is None:
                    return _Found(known.search, ops)
                trace = trace.with_ops(trace.ops[: index + 1])
            divergence = lockstep.run(trace)
        except Exception as error:
            # What a mutant has broken may raise only when it is looked at.
            done = trace.with_ops(trace.ops[: lockstep.ticks - begun])
            return _Found(known.search, lockstep.ticks - begun, done, _Raised.of(error))
        if not known.log:
            ops = lockstep.ticks - begun
        if divergence is None:
            return _Found(known.search, ops)
        trace = trace.with_ops(trace.ops[: divergence.op_index + 1])
        return _Found(known.search, ops, trace, divergence)

    def _raced(self, lockstep: Lockstep) -> _Found:
        begun = lockstep.ticks
        session = Session(self._subject, lockstep, NO_INVARIANTS)
        rng = Random(self._plan.seed)
        try:
            race(session, self._subject.generator(), rng, self._plan.raced, 2)
        except Exception as error:
            return _Found("tasks", lockstep.ticks - begun, None, _Raised.of(error))
        return _of("tasks", session.findings, session.findings.ops)

    def _explored(self, lockstep: Lockstep, small: SmallWorld) -> _Found:
        name = f"world {small.name}"
        begun = lockstep.ticks
        try:
            found = explored(self._subject, lockstep, small, self._plan.states)
        except Exception as error:
            return _Found(name, lockstep.ticks - begun, None, _Raised.of(error))
        return _of(name, found.findings, found.transitions)

    def _killed(self, fate: Fate, found: _Found, lockstep: Lockstep) -> Fate:
        trace, why, compiles = found.trace, found.why, True
        if isinstance(why, Divergence):
            how, field = "diverged", why.first.field
            if self._plan.shrink and trace is not None:
                trace = _smaller(lockstep, trace, why, self._subject)
        else:
            assert why is not None
            how, field = "hangs" if why.is_late else "crashed", why.text
            compiles = not why.is_typed
        return replace(
            fate,
            killed_by=found.search,
            how=how,
            field=field,
            trace="" if trace is None else format_trace(trace),
            compiles=compiles,
        )


@dataclass(frozen=True, slots=True)
class _Raised:
    """What running a mutant raised, as a text that begins with the kind of exception."""

    text: str

    @classmethod
    def of(cls, error: BaseException) -> _Raised:
        while isinstance(error, FaultError) and error.__cause__ is not None:
            error = error.__cause__
        return cls(f"{type(error).__name__}: {error}")

    @property
    def is_late(self) -> bool:
        return "TimeoutError" in self.text

    @property
    def is_typed(self) -> bool:
        """Whether only a value of a wrong type does that; null is one of every pointer's values."""
        wrong = "TypeError" in self.text or "AttributeError" in self.text
        return wrong and "NoneType" not in self.text


@dataclass(frozen=True, slots=True)
class _Found:
    """What one try at one mutant came to."""

    search: str
    ops: int
    trace: Trace | None = None
    why: Divergence | _Raised | None = None


def _of(search: str, findings: Findings, ops: int) -> _Found:
    if findings.divergence is not None:
        return _Found(search, ops, *findings.divergence)
    if findings.fault is not None:
        trace, text = findings.fault
        return _Found(search, ops, trace, _Raised(text))
    return _Found(search, ops)


def _smaller(lockstep: Lockstep, trace: Trace, divergence: Divergence, subject: Subject) -> Trace:
    wanted = divergence.identity(trace)

    def fails(candidate: Trace) -> int | None:
        try:
            found = lockstep.run(candidate)
        except (FaultError, WorldError):
            return None
        same = found is not None and found.identity(candidate) == wanted
        return found.op_index if found is not None and same else None

    return Shrinker(trace, fails, subject.ops, subject.worlds, SHRINK_LIMIT).run()


@contextmanager
def watchdog(lockstep: Lockstep) -> Iterator[None]:
    """Raise TimeoutError where an operation runs for longer than :data:`HANG_S`."""
    last: list[object] = [None]

    def look(number: int, frame: object) -> None:
        now = lockstep.index, lockstep.ticks
        if last[0] == now:
            msg = f"no operation ended within {HANG_S:g} s"
            raise TimeoutError(msg)
        last[0] = now

    # Time of this process alone: a busy machine makes nothing hang.
    previous = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, HANG_S, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


_hunter: Hunter | None = None


def _adopt(hunter: Hunter) -> None:
    global _hunter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hunter = hunter


def _hunt(mutant: Mutant) -> Fate:
    assert _hunter is not None
    return _hunter.hunt(mutant)


def hunt_all(
    hunter: Hunter,
    mutants: Sequence[Mutant],
    jobs: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Fate]:
    """The fates of mutants, in their order, until ``stop``."""
    if jobs == 1:
        for mutant in mutants:
            if stop():
                return
            yield hunter.hunt(mutant)
        return
    # Forked, so that what the original does need not be found out again, nor sent.
    pool = ProcessPoolExecutor(jobs, get_context("fork"), _adopt, (hunter,))
    try:
        for future in [pool.submit(_hunt, mutant) for mutant in mutants]:
            if stop():
                return
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
