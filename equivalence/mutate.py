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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from random import Random
from types import CodeType, FunctionType
from typing import Final, Protocol

from equivalence.driver import FaultError, Lockstep
from equivalence.events import PairName
from equivalence.explorer import SmallWorld
from equivalence.jobs import derive_seed
from equivalence.mutants import Mutant, build, mutants_of
from equivalence.oracle import oracle_for
from equivalence.races import Tasked, race
from equivalence.reference import NO_INVARIANTS, Known, Reference, explored, first_difference
from equivalence.search import Findings, Session
from equivalence.shrink import Shrinker
from equivalence.subject import Changes, Relation, Subject, System, WorldError
from models.schema.divergence import Divergence
from models.schema.result import MutantEvidence
from models.schema.trace import Trace, format_trace

#: An operation that takes more processor time does not come back.
HANG_S: Final = 3.0
#: How many traces are run to make a killing trace smaller.
SHRINK_LIMIT: Final = 400


class MutableTier(Protocol):
    """A tier whose functions can be replaced."""

    name: str
    series: str

    def functions(self, step: int) -> Mapping[str, FunctionType]:
        """The functions of a step."""

    def system(
        self,
        step: int,
        *,
        effects: bool = False,
        evidence: bool = True,
        overrides: Mapping[str, CodeType] | None = None,
        watch: Iterable[str] = (),
    ) -> System:
        """A system of the step with other code for some functions; ``watch`` names functions that
        report what ran."""

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ."""


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
    where there is one. ``compiles`` is false where a compiler of C would refuse the change, because
    the types say so or because running it failed as only a wrong type does; such a mutant says
    nothing of the searches, and counts neither as killed nor as a survivor. ``ran`` says whether
    any trace or world ran what the mutant changes.
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
    """Searches for mutants of some functions of one step, one after the other.

    Raises:
        FaultError: the original step fails by itself.
    """

    def __init__(
        self,
        subject: Subject,
        tier: MutableTier,
        step: int,
        worlds: Sequence[SmallWorld],
        plan: Plan,
        functions: Iterable[str],
    ) -> None:
        self._subject = subject
        self._tier = tier
        self._step = step
        self._worlds = worlds
        self._plan = plan
        effects = plan.relation == "effects"
        self._original = tier.system(step, effects=effects, evidence=False)
        watched = tier.system(step, effects=effects, watch=functions)
        self._reference = Reference(subject, watched, self._lockstep(watched))
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

    def hunt(self, mutant: Mutant) -> Fate:
        """Search until the mutant is told from the original, or everything was tried."""
        fate = Fate(mutant, compiles=mutant.compiles, ran=self._reference.is_run(mutant))
        if not mutant.compiles:
            return fate
        started = time.monotonic()
        function = self._tier.functions(self._step)[mutant.function]
        system = self._tier.system(
            self._step,
            effects=self._plan.relation == "effects",
            evidence=False,
            overrides={mutant.function: build(mutant, function).__code__},
        )
        lockstep = self._lockstep(system)
        with watchdog(lockstep):
            for found in self._searches(mutant, system, lockstep):
                fate = replace(fate, ops=fate.ops + found.ops)
                if found.why:
                    fate = self._killed(fate, found, lockstep)
                    break
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
        if self._plan.raced and isinstance(self._subject, Tasked):
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


def mutants_in(tier: MutableTier, step: int, names: Iterable[str]) -> list[Mutant]:
    """All mutants of the named functions of a step."""
    functions = tier.functions(step)
    known = [name for name in dict.fromkeys(names) if name in functions]
    return [mutant for name in known for mutant in mutants_of(name, functions[name], functions)]


def touched(tier: MutableTier, before: int, after: int) -> list[str]:
    """The functions that a pair of steps touches and that the second one still has."""
    changes = tier.changes(before, after)
    return [c.function for c in changes.functions if c.role in ("changed", "added")]


#: The reason why a mutant cannot be told from the original, by its key; None: no reason is known.
Reasons = Callable[[str], str | None]


def evidence_of(
    fates: Iterable[Fate], reason: Reasons, mutants: Sequence[Mutant] | None = None
) -> MutantEvidence:
    """The score, as a result holds it; explained mutants do not count as survivors.

    ``mutants`` are all that there are, where not every one was searched for.
    """
    every = list(fates)
    alive = [fate.mutant.key for fate in every if fate.survived]
    unexplained = tuple(key for key in alive if reason(key) is None)
    return MutantEvidence(
        killed=sum(fate.killed for fate in every),
        survived=len(unexplained),
        explained=len(alive) - len(unexplained),
        not_compiled=sum(not fate.compiles for fate in every),
        not_tried=0 if mutants is None else len(mutants) - len(every),
        survivors=unexplained,
        functions=tuple(dict.fromkeys(fate.mutant.function for fate in every)),
        searches=dict(Counter(fate.killed_by for fate in every if fate.killed).most_common()),
    )


class Scores:
    """What a run asks for the score of one pair: mutants of the functions that it touches.

    They are of the pair's second step, so pairs that end in the same step share what was found.
    """

    def __init__(
        self,
        subject: Subject,
        tier: MutableTier,
        worlds: Sequence[SmallWorld],
        reason: Reasons,
        plan: Plan,
        jobs: int = 1,
    ) -> None:
        self._subject = subject
        self._tier = tier
        self._worlds = worlds
        self._reason = reason
        self._plan = plan
        self._jobs = jobs
        self._known: dict[tuple[int, str], Fate] = {}

    def __call__(self, name: PairName, stop: Callable[[], bool]) -> MutantEvidence:
        """The score of a pair; what ``stop`` leaves over is counted.

        Raises:
            FaultError: the original step fails by itself.
        """
        step = name.after
        mutants = mutants_in(self._tier, step, touched(self._tier, name.before, step))
        new = [mutant for mutant in mutants if (step, mutant.key) not in self._known]
        if new and not stop():
            names = dict.fromkeys(mutant.function for mutant in new)
            plan = replace(self._plan, seed=derive_seed(self._plan.seed, step, "mutants"))
            hunter = Hunter(self._subject, self._tier, step, self._worlds, plan, names)
            for fate in hunt_all(hunter, new, self._jobs, stop):
                self._known[step, fate.mutant.key] = fate
        places = [(step, mutant.key) for mutant in mutants]
        fates = [self._known[place] for place in places if place in self._known]
        return evidence_of(fates, self._reason, mutants)
