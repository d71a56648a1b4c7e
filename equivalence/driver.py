"""The lockstep loop: the same operation on both sides, then compare. No randomness, no I/O.

Every search, every replay and the shrinker come through here, so what they call a divergence is
the same thing. Outcomes are compared first, then the state by digest; only when something differs
are both sides observed to find out what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from equivalence.oracle import (
    Oracle,
    bounded,
    effect_differences,
    outcome_differences,
    state_differences,
)
from equivalence.schedule import Schedule, enumerate_switches, parse_schedule
from equivalence.subject import Batch, Concurrent, Joint, Observation, Ran, System, WorldError
from models.schema.divergence import Difference, Divergence
from models.schema.outcome import OK, Outcome
from models.schema.trace import Args, Op, Trace

#: Where the sides pass different boundaries, schedules with so many preemptions, at so many of the
#: first boundaries, say what either side can reach.
REACHABLE_PREEMPTIONS: Final = 2
REACHABLE_BOUNDARIES: Final = 24
#: Outcomes after which a system goes on.
ALIVE: Final = frozenset({"returned", "refused"})


class FaultError(Exception):
    """A fault of ours, not of the code under check: a system raised, or digests are not digests.

    ``sort`` is what stays the same while the trace shrinks.
    """

    def __init__(self, message: str, sort: str) -> None:
        super().__init__(message)
        self.sort = sort


class Lockstep:
    """Two systems fed the same operations.

    ``outcome`` is what the last operation returned on the first side; ``dead`` says that both sides
    ended alike in an outcome after which a system cannot go on; ``ticks`` counts operations of all
    traces, for a watchdog. Of the last operations that ran together, on the first side,
    ``outcomes`` and ``inversions`` are what they returned and the locks that they took in either
    order; ``moved`` says that they passed different lock boundaries on the two sides.
    """

    __slots__ = (
        "_apply_after",
        "_apply_before",
        "_batches",
        "after",
        "before",
        "dead",
        "index",
        "inversions",
        "moved",
        "oracle",
        "outcome",
        "outcomes",
        "ticks",
    )

    def __init__(self, before: System, after: System, oracle: Oracle) -> None:
        self.before = before
        self.after = after
        self.oracle = oracle
        # Asking a protocol takes long, so it is asked once.
        self._batches: tuple[Batch, Batch] | None = None
        if isinstance(before, Batch) and isinstance(after, Batch):
            self._batches = before, after
        self._apply_before = before.apply
        self._apply_after = after.apply
        self.index = 0
        self.ticks = 0
        self.moved = False
        self.dead = False
        self.outcome: Outcome = OK
        self.outcomes: tuple[Outcome, ...] = ()
        self.inversions: tuple[tuple[str, str], ...] = ()

    def boot(self, world: Args) -> Divergence | None:
        """Start both sides afresh; they may differ from the start (then ``op_index`` is -1).

        Raises:
            WorldError: the world cannot boot.
            FaultError: a system raised, or its digest does not say what its observation says.
        """
        self.index = 0
        self.dead = False
        op = Op("world", world)
        for system in (self.before, self.after):
            try:
                system.boot(world)
            except WorldError:
                raise
            except Exception as error:
                raise self._raised(system, error, f"at boot of {op}") from error
        return self._compare_state(op, -1)

    def step(self, op: Op) -> Divergence | None:
        """Run one operation on both sides and compare.

        Raises:
            FaultError: a system raised, or its digest does not say what its observation says.
        """
        index = self.index
        self.index = index + 1
        self.ticks += 1
        system = self.before
        try:
            one = self._apply_before(op)
            system = self.after
            other = self._apply_after(op)
        except Exception as error:
            raise self._raised(system, error, f"in op {index} ({op})") from error
        self.outcome = one
        # Where an operation that never ends was stopped is chance: two hangs agree.
        if one != other and not (one.ending == other.ending == "hang" or one.alike(other)):
            return self._diverged(op, index, one, other)
        ending = one.ending
        if ending == "returned":
            return self._compare_state(op, index)
        # What was refused never reached the code under check: there is nothing to compare.
        self.dead = ending != "refused"
        return None

    def steps(self, ops: Sequence[Op], world: Args | None = None) -> Ran | None:
        """Run operations in one call of each side, after booting ``world`` if one is given.

        What the first side did, if both surely did the same; None if that takes a closer look:
        then the sides have gone too far, and the trace is to be run again, one by one.

        Raises:
            WorldError: the world cannot boot.
            FaultError: a system raised.
        """
        assert self._batches is not None, "asked of systems that run in batches"
        before, after = self._batches
        if world is not None:
            self.index, self.dead = 0, False
        system: System = self.before
        place = f"in ops {self.index} ff."
        try:
            before.send(ops, world)
            system = self.after
            after.send(ops, world)
            system = self.before
            one = before.receive()
            system = self.after
            other = after.receive()
        except WorldError:
            raise
        except Exception as error:
            raise self._raised(system, error, place) from error
        if not one.agrees(other, self.oracle.relation):
            return None
        outcomes = one.outcomes
        self.index += len(outcomes)
        self.ticks += len(outcomes)
        if outcomes:
            self.outcome = outcomes[-1]
            self.dead = self.outcome.fatal
        return one

    @property
    def in_batches(self) -> bool:
        """Whether both sides run several operations in one call, and are compared by digest."""
        return self._batches is not None and self.oracle.by_digest

    def run(self, trace: Trace) -> Divergence | None:
        """Boot and run a whole trace; the first divergence, or None.

        Raises:
            WorldError: the world cannot boot.
            FaultError: a system raised, or its digest does not say what its observation says.
        """
        whole = self.in_batches and not trace.schedule
        if whole and self.steps(trace.ops, trace.world) is not None:
            return None
        divergence = self.boot(trace.world)
        if divergence is not None:
            return divergence
        step = self.step
        if trace.schedule:
            return self._run_scheduled(trace)
        for op in trace.ops:
            divergence = step(op)
            if divergence is not None or self.dead:
                return divergence
        return None

    def _run_scheduled(self, trace: Trace) -> Divergence | None:
        schedule = parse_schedule(trace.schedule)
        end = schedule.at + schedule.tasks
        for op in trace.ops[: schedule.at]:
            divergence = self.step(op)
            if divergence is not None or self.dead:
                return divergence
        group = trace.ops[schedule.at : end]
        divergence = self.together(group, schedule) if group else None
        if divergence is not None or self.dead:
            return divergence
        for op in trace.ops[end:]:
            divergence = self.step(op)
            if divergence is not None or self.dead:
                break
        return divergence

    def together(self, ops: Sequence[Op], schedule: Schedule) -> Divergence | None:
        """Run operations together on both sides, with the same choices, and compare.

        Where the sides do not pass the same boundaries the choices mean different things; then the
        results that either side can reach at all are compared, and the trace ends (``dead``).

        Raises:
            FaultError: a system raised, or cannot run operations together.
        """
        index = self.index
        self.index = index + len(ops)
        self.ticks += len(ops)
        self.moved = False
        before, after = self.before, self.after
        if not isinstance(before, Concurrent) or not isinstance(after, Concurrent):
            msg = "this tier cannot run operations together"
            raise FaultError(msg, "not concurrent")
        snapshots = before.snapshot(), after.snapshot()
        one = self._together(before, ops, schedule)
        other = self._together(after, ops, schedule)
        self.outcomes, self.inversions = one.outcomes, one.inversions
        if one.boundaries != other.boundaries:
            # Because the code differs, or because it does something else from here on?
            plain = Schedule(schedule.at, schedule.tasks)
            self._restore(snapshots)
            alone = [self._together(system, ops, plain) for system in (before, after)]
            self._restore(snapshots)
            self.moved = alone[0].boundaries != alone[1].boundaries
            if self.moved:
                self.dead = True
                return self._compare_reachable(ops, index, schedule)
            one = self._together(before, ops, schedule)
            other = self._together(after, ops, schedule)
        for place, (mine, theirs) in enumerate(zip(one.outcomes, other.outcomes, strict=True)):
            if not mine.alike(theirs):
                return self._diverged(ops[place], index + place, mine, theirs)
        self.outcome = one.outcomes[-1]
        if any(outcome.fatal for outcome in one.outcomes):
            self.dead = True
            return None
        return self._compare_state(ops[-1], self.index - 1)

    def _restore(self, snapshots: tuple[object, object]) -> None:
        self.before.restore(snapshots[0])
        self.after.restore(snapshots[1])

    def _together(self, system: Concurrent, ops: Sequence[Op], schedule: Schedule) -> Joint:
        try:
            return system.apply_together(ops, schedule.switches)
        except Exception as error:
            raise self._raised(system, error, f"in ops {self.index - len(ops)} ff.") from error

    def _compare_reachable(
        self, ops: Sequence[Op], index: int, schedule: Schedule
    ) -> Divergence | None:
        """Compare what either side can reach with few preemptions."""
        reached = [self._reachable(system, ops, schedule) for system in (self.before, self.after)]
        if reached[0] == reached[1]:
            return None
        shown = [_some_outcomes(mine - theirs) for mine, theirs in (reached, reached[::-1])]
        found = Difference(("outcome", "reachable"), *shown)
        return Divergence(index + len(ops) - 1, ops[-1], (found,))

    def _reachable(self, system: Any, ops: Sequence[Op], schedule: Schedule) -> set[Any]:
        snapshot = system.snapshot()
        plain = self._together(system, ops, Schedule(schedule.at, schedule.tasks))
        found: set[Any] = set()
        count = min(len(plain.boundaries), REACHABLE_BOUNDARIES)
        for switches in enumerate_switches(count, schedule.tasks, REACHABLE_PREEMPTIONS):
            system.restore(snapshot)
            done = self._together(system, ops, Schedule(schedule.at, schedule.tasks, switches))
            fatal = any(outcome.fatal for outcome in done.outcomes)
            key = None if fatal else system.state_key()
            found.add((done.outcomes, done.inversions, key))
        system.restore(snapshot)
        return found

    def audit(self) -> Observation:
        """Observe both sides in full, where digests have agreed; what the first side shows.

        Raises:
            FaultError: the observations differ although the digests agreed.
        """
        before = self.before.observe()
        found = state_differences(before, self.after.observe(), self.oracle.sections)
        first = next(found, None)
        if first is not None:
            msg = f"digests agree, but {first.field} differs after op {self.index - 1}"
            raise FaultError(msg, "digests agree")
        return before

    def _raised(self, system: object, error: Exception, place: str) -> FaultError:
        side = "before" if system is self.before else "after"
        sort = f"the system {side} the patch raised {type(error).__name__}"
        return FaultError(f"{sort}: {error}, {place}", sort)

    def _compare_state(self, op: Op, index: int) -> Divergence | None:
        oracle = self.oracle
        if oracle.effects:
            effects = self.before.drain_effects(), self.after.drain_effects()
            if effects[0] != effects[1]:
                found = [*self._state_differences(), *effect_differences(*effects)]
                return Divergence(index, op, bounded(iter(found)))
        if not oracle.by_digest:
            differences = bounded(self._state_differences())
            return Divergence(index, op, differences) if differences else None
        if self.before.digest(oracle.relation) == self.after.digest(oracle.relation):
            return None
        differences = bounded(self._state_differences())
        if not differences:
            msg = f"digests differ after op {index} ({op}), but no observed field does"
            raise FaultError(msg, "digests differ")
        return Divergence(index, op, differences)

    def _diverged(self, op: Op, index: int, one: Outcome, other: Outcome) -> Divergence:
        found = list(outcome_differences(one, other))
        if one.ending in ALIVE and other.ending in ALIVE:
            found += self._state_differences()
        return Divergence(index, op, bounded(iter(found)))

    def _state_differences(self) -> Iterator[Difference]:
        sections = self.oracle.sections
        return state_differences(self.before.observe(), self.after.observe(), sections)


def _some_outcomes(results: set[Any]) -> str:
    """What one side alone can reach: how often, and the outcomes of one of them."""
    if not results:
        return "nothing that the other side cannot"
    outcomes, orders = min((tuple(map(str, one[0])), one[1]) for one in results)
    taken = "".join(f"; {a} and {b} in either order" for a, b in orders)
    return f"{len(results)} more, such as {'; '.join(outcomes)}{taken}"


def run_trace(before: System, after: System, trace: Trace, oracle: Oracle) -> Divergence | None:
    """Run a whole trace in lockstep; the first divergence, or None.

    Raises:
        WorldError: the world cannot boot.
        FaultError: a system raised, or its digest does not say what its observation says.
    """
    return Lockstep(before, after, oracle).run(trace)
