"""The search for races: operations of different tasks run together, under many schedules.

A drawn prefix brings both sides to a state; from there the same operations are run together again
and again, switched at other lock boundaries each time: first at every single boundary (one
preemption finds most races), then at random, then by PCT. Both sides get the same choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, Protocol, runtime_checkable

from equivalence.driver import FaultError
from equivalence.schedule import (
    Schedule,
    enumerate_switches,
    parse_schedule,
    pct_switches,
    random_switches,
    shifted,
    with_one_earlier,
    without_one,
)
from equivalence.search import Session
from equivalence.shrink import Fails
from equivalence.subject import Concurrent, Generator, Joint
from models.schema.trace import Op, Trace

PREFIX: Final = (4, 24)
#: Schedules for one group of operations: one preemption each, random, PCT.
SINGLE: Final = 48
#: Where the operations come to the same in either order: only some of one preemption.
QUIET: Final = 6
RANDOM: Final = 12
PCT: Final = 12
#: Groups that are run together in one trace, and draws until one is found.
GROUPS: Final = 10
DRAWS: Final = 40


@runtime_checkable
class Tasked(Protocol):
    """A subject that says which task runs an operation; one task runs one at a time."""

    def task_of(self, op: Op) -> str | None:
        """The task's name; None for what runs alone."""


def race(session: Session, generator: Generator, rng: Random, budget: int, tasks: int) -> None:
    """Run groups of ``tasks`` operations together until ``budget`` operations are spent.

    Raises:
        FaultError: the subject or the tier knows no tasks.
    """
    subject = session.subject
    before, after = session.lockstep.before, session.lockstep.after
    concurrent = isinstance(before, Concurrent) and isinstance(after, Concurrent)
    if not isinstance(subject, Tasked) or not concurrent:
        msg = "this subject or tier cannot run operations together"
        raise FaultError(msg, "not concurrent")
    findings = session.findings
    while findings.ops < budget and not findings.over:
        if session.stop():
            findings.truncated = True
            return
        world = generator.world(rng)
        if session.begin(world):
            generator.start(world)
            if _prefix(session, generator, rng):
                for _ in range(GROUPS):
                    group = _group(subject, generator, rng, tasks)
                    if group is None or not _together(session, generator, rng, group):
                        break
        session.end()


def _prefix(session: Session, generator: Generator, rng: Random) -> bool:
    low, high = PREFIX
    for _ in range(low + int(rng.random() * (high - low))):
        op = generator.op(rng)
        if not session.step(op):
            return False
        generator.saw(op, session.outcome)
    return True


def _group(subject: Tasked, generator: Generator, rng: Random, tasks: int) -> tuple[Op, ...] | None:
    """Operations of as many different tasks."""
    found: dict[str, Op] = {}
    for _ in range(DRAWS):
        op = generator.op(rng)
        task = subject.task_of(op)
        if task is not None:
            found.setdefault(task, op)
        if len(found) == tasks:
            return tuple(found.values())
    return None


def _together(session: Session, generator: Generator, rng: Random, group: tuple[Op, ...]) -> bool:
    """Run a group under many schedules, then one by one; whether the trace goes on."""
    lockstep, findings = session.lockstep, session.findings
    before, after = lockstep.before, lockstep.after
    assert isinstance(before, Concurrent)
    snapshots = before.snapshot(), after.snapshot()
    at, tasks = lockstep.index, len(group)
    owners, conflict = _probe(before, snapshots[0], group)
    findings.ops += 2 * tasks
    for switches in _schedules(rng, owners, tasks, conflict):
        before.restore(snapshots[0])
        after.restore(snapshots[1])
        lockstep.index, lockstep.dead = at, False
        session.step_together(group, Schedule(at, tasks, switches))
        if findings.over:
            return False
        if lockstep.moved:
            # All that the schedules could show was compared at once.
            break
    before.restore(snapshots[0])
    after.restore(snapshots[1])
    lockstep.index, lockstep.dead = at, False
    for op in group:
        if not session.step(op):
            return False
        generator.saw(op, session.outcome)
    return True


def _probe(system: Concurrent, snapshot: object, group: tuple[Op, ...]) -> tuple[list[int], bool]:
    """Which task passes each boundary, one after the other, and whether they may well race.

    They may where their order matters, or that of the locks they take. Most groups are not such.
    """
    one = system.apply_together(group, ())
    first = sorted(zip(map(str, group), one.outcomes, strict=True)), _key(system, one)
    system.restore(snapshot)
    turned = group[::-1]
    other = system.apply_together(turned, ())
    second = sorted(zip(map(str, turned), other.outcomes, strict=True)), _key(system, other)
    owners = [task for task, _, _ in one.boundaries]
    return owners, first != second or bool(one.inversions)


def _key(system: Concurrent, joint: Joint) -> object:
    return None if any(outcome.fatal for outcome in joint.outcomes) else system.state_key()


def _schedules(
    rng: Random, owners: list[int], tasks: int, conflict: bool
) -> Iterator[tuple[tuple[int, int], ...]]:
    boundaries = len(owners)
    # To go on with the task that runs is no switch.
    singles = [
        switches
        for switches in enumerate_switches(boundaries, tasks, 1)
        if all(owners[point] != task for point, task in switches)
    ]
    most = SINGLE if conflict else QUIET
    yield from singles if len(singles) <= most else rng.sample(singles, most)
    if not conflict:
        return
    yield from (random_switches(rng, boundaries, tasks) for _ in range(RANDOM))
    yield from (pct_switches(rng, boundaries, tasks, 2 + n % 2) for n in range(PCT))


def shrink_race(trace: Trace, fails: Fails, limit: int) -> tuple[Trace, int]:
    """A smaller trace with a simpler schedule that fails in the same way, and how many were run.

    Switches are dropped, then operations that run alone, then the switches left are moved forward;
    what runs together stays. At most ``limit`` traces are run.
    """
    best, runs = (trace, parse_schedule(trace.schedule)), 0
    progress = True
    while progress:
        progress = False
        for candidate in _smaller(*best):
            if runs >= limit:
                return best[0], runs
            runs += 1
            if fails(candidate[0]) is not None:
                best, progress = candidate, True
                break
    return best[0], runs


def _smaller(trace: Trace, schedule: Schedule) -> Iterator[tuple[Trace, Schedule]]:
    ops = trace.ops
    for fewer in without_one(schedule):
        yield _scheduled(trace, ops, fewer)
    for size in (8, 4, 2, 1):
        for start in range(len(ops) - size, -1, -1):
            fitting = shifted(schedule, range(start, start + size))
            if fitting is not None:
                yield _scheduled(trace, (*ops[:start], *ops[start + size :]), fitting)
    for earlier in with_one_earlier(schedule):
        yield _scheduled(trace, ops, earlier)


def _scheduled(trace: Trace, ops: Sequence[Op], schedule: Schedule) -> tuple[Trace, Schedule]:
    made = Trace(trace.subject, trace.world, tuple(ops), str(schedule), trace.comments)
    return made, schedule
