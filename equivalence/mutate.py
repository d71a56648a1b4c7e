"""Do the searches catch planted bugs? Each mutant of a step is searched for against that step.

The searches go from cheap to thorough: the traces that every run replays, traces drawn by the
sampler, then the small worlds, each up to a number of states. A mutant is *killed* by the first
that tells it from the original: by a divergence, because it raises (a crash in the C), or because
it does not come back. A mutant that survives is either explained (it cannot be told apart, for the
reason given) or a hole in the searches.

What a score does not show: that bugs of other kinds would be found. The operators are small, single
changes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from random import Random
from types import CodeType, FunctionType
from typing import Any, Final, Protocol

from equivalence.driver import FaultError, Lockstep
from equivalence.events import PairName
from equivalence.explorer import Bounds, Expander, Expansion, Exploration, Part, SmallWorld, explore
from equivalence.jobs import derive_seed
from equivalence.mutants import Mutant, build, mutants_of
from equivalence.oracle import oracle_for
from equivalence.sampler import sample
from equivalence.search import Session
from equivalence.shrink import Shrinker
from equivalence.subject import Changes, Relation, Subject, System, WorldError
from models.schema.divergence import Divergence
from models.schema.result import MutantEvidence
from models.schema.trace import Trace, format_trace

#: An operation that takes more processor time does not come back.
HANG_S: Final = 3.0
#: How many traces are run to make a killing trace smaller.
SHRINK_LIMIT: Final = 400
#: The original is system 0 of a lockstep.
_ORIGINAL: Final = "before the patch"


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
    ) -> System:
        """A system of the step with other code for some functions."""

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard each mutant is searched for: ``ops`` by the sampler, ``states`` in each world."""

    ops: int = 5_000
    states: int = 300
    seed: int = 0
    relation: Relation = "state"
    shrink: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one mutant.

    ``killed_by`` is the search ("" if it survived), ``how`` one of diverged, crashed, hangs.
    ``ops`` and ``seconds`` were spent on it. ``trace`` is the text of a trace that tells it apart,
    where there is one.
    """

    mutant: Mutant
    killed_by: str = ""
    how: str = ""
    field: str = ""
    ops: int = 0
    seconds: float = 0.0
    trace: str = ""


class Hunter:
    """Searches for mutants of one step, one after the other."""

    def __init__(
        self,
        subject: Subject,
        tier: MutableTier,
        step: int,
        worlds: Sequence[SmallWorld],
        plan: Plan,
    ) -> None:
        self._subject = subject
        self._tier = tier
        self._step = step
        self._worlds = worlds
        self._plan = plan
        effects = plan.relation == "effects"
        self._original = tier.system(step, effects=effects, evidence=False)

    def hunt(self, mutant: Mutant) -> Fate:
        """Search until the mutant is told from the original, or everything was tried."""
        started = time.monotonic()
        function = self._tier.functions(self._step)[mutant.function]
        system = self._tier.system(
            self._step,
            effects=self._plan.relation == "effects",
            evidence=False,
            overrides={mutant.function: build(mutant, function).__code__},
        )
        lockstep = Lockstep(self._original, system, self._oracle(system))
        ops = 0
        fate = Fate(mutant)
        with watchdog(lockstep):
            for name, search in self._searches(lockstep):
                begun = lockstep.ticks
                try:
                    found = search()
                except Exception as error:
                    # What a mutant has broken may raise only when it is looked at.
                    found = _Found(lockstep.ticks - begun, why=f"{type(error).__name__}: {error}")
                ops += found.ops
                if found.why:
                    fate = self._killed(fate, name, found, lockstep)
                    break
        return replace(fate, ops=ops, seconds=time.monotonic() - started)

    def _oracle(self, system: System) -> Any:
        subject = self._subject
        sections = subject.user_sections
        return oracle_for(self._original, system, self._plan.relation, sections)

    def _searches(self, lockstep: Lockstep) -> Iterator[tuple[str, Callable[[], _Found]]]:
        yield "examples", lambda: _replayed(lockstep, self._subject.examples())
        yield "sampler", lambda: self._sampled(lockstep)
        for small in self._worlds:
            yield f"world {small.name}", lambda small=small: self._explored(lockstep, small)  # type: ignore[misc]

    def _sampled(self, lockstep: Lockstep) -> _Found:
        session = Session(self._subject, lockstep, _NO_INVARIANTS)
        sample(session, self._subject.generator(), Random(self._plan.seed), self._plan.ops)
        return _of(session)

    def _explored(self, lockstep: Lockstep, small: SmallWorld) -> _Found:
        subject = self._subject

        class Here:
            def map(self, jobs: Iterable[Expansion]) -> Generator[Part, None, None]:
                for job in jobs:
                    yield Expander(subject, lockstep).expand(job)

        found = Exploration(small)
        explore(Here(), (0, 1), found, Bounds(states=self._plan.states))
        findings = found.findings
        if findings.divergence is not None:
            return _Found(found.transitions, *findings.divergence)
        if findings.fault is not None:
            return _Found(found.transitions, findings.fault[0], findings.fault[1])
        return _Found(found.transitions)

    def _killed(self, fate: Fate, name: str, found: _Found, lockstep: Lockstep) -> Fate:
        trace, why = found.trace, found.why
        if isinstance(why, Divergence):
            how, field = "diverged", why.first.field
            if self._plan.shrink and trace is not None:
                trace = _smaller(lockstep, trace, why, self._subject)
        else:
            if _ORIGINAL in why and "TimeoutError" not in why:
                msg = f"the original step fails by itself: {why}"
                raise FaultError(msg, "original")
            how, field = ("hangs" if "TimeoutError" in why else "crashed"), why
        return replace(
            fate,
            killed_by=name,
            how=how,
            field=field,
            trace="" if trace is None else format_trace(trace),
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What one search of one mutant came to."""

    ops: int
    trace: Trace | None = None
    why: Divergence | str = ""


#: The original is checked by every other run; a mutant counts when it differs.
_NO_INVARIANTS: Final = ()


def _replayed(lockstep: Lockstep, traces: Iterable[Trace]) -> _Found:
    ops = 0
    for trace in traces:
        try:
            divergence = lockstep.run(trace)
        except FaultError as error:
            return _Found(
                ops + lockstep.index, trace.with_ops(trace.ops[: lockstep.index]), str(error)
            )
        ops += lockstep.index
        if divergence is not None:
            return _Found(ops, trace.with_ops(trace.ops[: divergence.op_index + 1]), divergence)
    return _Found(ops)


def _of(session: Session) -> _Found:
    findings = session.findings
    if findings.divergence is not None:
        return _Found(findings.ops, *findings.divergence)
    if findings.fault is not None:
        return _Found(findings.ops, *findings.fault)
    return _Found(findings.ops)


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


def hunt_all(hunter: Hunter, mutants: Sequence[Mutant], jobs: int = 1) -> Iterator[Fate]:
    """The fates of mutants, in their order.

    Raises:
        FaultError: the original step raises by itself.
    """
    if jobs == 1:
        yield from map(hunter.hunt, mutants)
        return
    with ProcessPoolExecutor(jobs, get_context("fork"), _adopt, (hunter,)) as pool:
        yield from pool.map(_hunt, mutants)


def mutants_in(tier: MutableTier, step: int, names: Iterable[str]) -> list[Mutant]:
    """All mutants of the named functions of a step."""
    functions = tier.functions(step)
    return [m for name in names if name in functions for m in mutants_of(name, functions[name])]


def touched(tier: MutableTier, before: int, after: int) -> list[str]:
    """The functions that a pair of steps touches and that the second one still has."""
    changes = tier.changes(before, after)
    return [c.function for c in changes.functions if c.role in ("changed", "added")]


def evidence_of(fates: Iterable[Fate], explained: Mapping[str, str]) -> MutantEvidence:
    """The score, as a result holds it; explained mutants do not count as survivors."""
    every = list(fates)
    survivors = [fate.mutant.key for fate in every if not fate.killed_by]
    unexplained = tuple(key for key in survivors if key not in explained)
    return MutantEvidence(
        killed=len(every) - len(survivors),
        survived=len(unexplained),
        explained=len(survivors) - len(unexplained),
        survivors=unexplained,
    )


def hook(
    subject: Subject,
    tier: MutableTier,
    worlds: Sequence[SmallWorld],
    explained: Mapping[str, str],
    plan: Plan,
    jobs: int = 1,
) -> Callable[[PairName], MutantEvidence]:
    """What a run calls for the score of one pair: mutants of the functions that it touches."""

    def mutate(name: PairName) -> MutantEvidence:
        seed = derive_seed(plan.seed, name.before, name.after, "mutants")
        hunter = Hunter(subject, tier, name.after, worlds, replace(plan, seed=seed))
        mutants = mutants_in(tier, name.after, touched(tier, name.before, name.after))
        return evidence_of(hunt_all(hunter, mutants, jobs), explained)

    return mutate
