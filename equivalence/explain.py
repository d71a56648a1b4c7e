"""From a trace that fails to what a report shows: the trace made minimal, and its timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from equivalence.driver import FaultError, Lockstep
from equivalence.races import shrink_race
from equivalence.schedule import Schedule, parse_schedule
from equivalence.search import defect_index, play
from equivalence.shrink import LIMIT, Fails, Shrinker
from equivalence.subject import Observation, Subject, System, WorldError
from models.schema.divergence import ABSENT, Divergence, path_text, plain
from models.schema.outcome import Outcome
from models.schema.result import FieldChange, OutcomeText, Shrinking, TimelineStep
from models.schema.trace import Trace

#: A timeline shows at most so many fields of one operation, and so many operations.
MAX_FIELDS: Final = 60
MAX_STEPS: Final = 2_000
#: Defects are many and need less: so many traces are run to shrink one.
DEFECT_LIMIT: Final = 1_500
#: A trace that hangs takes as long as thousands that do not.
HANG_LIMIT: Final = 300
#: Comparing all that two sides can reach takes as long as a thousand traces.
REACHABLE_LIMIT: Final = 150

Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Minimal:
    """A trace made minimal, and how."""

    trace: Trace
    shrinking: Shrinking


def confirm(lockstep: Lockstep, trace: Trace, divergence: Divergence) -> bool:
    """Whether a trace found by a search diverges in the same way both times it is run again."""
    wanted = divergence.identity(trace)
    for _ in range(2):
        again = _try(lockstep, trace)
        if not isinstance(again, Divergence) or again.identity(trace) != wanted:
            return False
    return True


def shrink_divergence(
    lockstep: Lockstep, trace: Trace, divergence: Divergence, subject: Subject, stop: Stop
) -> Minimal:
    """The smallest trace with the same divergence: operation kind, field and function."""
    wanted = divergence.identity(trace)

    def fails(candidate: Trace) -> int | None:
        found = _try(lockstep, candidate)
        if isinstance(found, Divergence) and found.identity(candidate) == wanted:
            return found.op_index
        return None

    limit = LIMIT
    if divergence.first.field == "outcome.reachable":
        limit = REACHABLE_LIMIT
    elif any("hang" in (item.before, item.after) for item in divergence.differences[:2]):
        limit = HANG_LIMIT
    return _shrink(trace, fails, subject, limit, stop)


def shrink_fault(lockstep: Lockstep, trace: Trace, subject: Subject, stop: Stop) -> Minimal:
    """The smallest trace with the same fault of ours; the trace itself if it does not repeat."""
    first = _try(lockstep, trace, audit=True)
    if not isinstance(first, FaultError):
        size = len(trace.ops)
        return Minimal(trace, Shrinking(from_ops=size, to_ops=size, runs=1, complete=False))

    def fails(candidate: Trace) -> int | None:
        found = _try(lockstep, candidate, audit=True)
        if isinstance(found, FaultError) and found.sort == first.sort:
            return lockstep.index - 1
        return None

    return _shrink(trace, fails, subject, LIMIT, stop)


def shrink_defect(system: System, trace: Trace, name: str, subject: Subject, stop: Stop) -> Minimal:
    """The smallest trace after which one system alone shows the same defect."""

    def fails(candidate: Trace) -> int | None:
        return defect_index(system, candidate, name, subject)

    limit = HANG_LIMIT if name == "hang" else DEFECT_LIMIT
    return _shrink(trace, fails, subject, limit, stop)


def timeline(
    before: System, after: System, trace: Trace
) -> tuple[dict[str, Any], tuple[TimelineStep, ...]]:
    """The first side's state after boot, and each operation's outcomes and changed fields."""
    before.boot(trace.world)
    after.boot(trace.world)
    initial = {name: plain(section) for name, section in before.observe().items()}
    last = (_flat(before.observe()), _flat(after.observe()))
    steps = []
    alive = True
    played = zip(_played(before, trace), _played(after, trace), strict=True)
    for index, (outcomes, op) in enumerate(zip(played, trace.ops, strict=False)):
        alive = alive and not (outcomes[0].fatal or outcomes[1].fatal)
        now = (_flat(before.observe()), _flat(after.observe())) if alive else last
        changed = list(_changed(last, now))
        steps.append(
            TimelineStep(
                index=index,
                op=str(op),
                before=outcome_text(outcomes[0]),
                after=outcome_text(outcomes[1]),
                changed=tuple(changed[:MAX_FIELDS]),
                more=max(0, len(changed) - MAX_FIELDS),
            )
        )
        last = now
    return initial, tuple(steps)


def _played(system: System, trace: Trace) -> Iterator[Outcome]:
    """The outcomes of a trace's operations, each when it has run; a group runs at its first one."""
    for _, outcomes, _ in play(system, trace.with_ops(trace.ops[:MAX_STEPS])):
        yield from outcomes


def differences(divergence: Divergence) -> tuple[FieldChange, ...]:
    """The fields in which the two sides differ, as a result holds them."""
    return tuple(
        FieldChange(
            field=item.field, before=plain(item.before), after=plain(item.after), differs=True
        )
        for item in islice(divergence.differences, MAX_FIELDS)
    )


def outcome_text(outcome: Outcome) -> OutcomeText:
    """An outcome as a result holds it."""
    return OutcomeText(**outcome._asdict())


def _try(
    lockstep: Lockstep, trace: Trace, *, audit: bool = False
) -> Divergence | FaultError | None:
    """Run a trace; with ``audit`` observe both sides in full at the end, as searches do."""
    try:
        divergence = lockstep.run(trace)
        if audit and divergence is None and not lockstep.dead:
            lockstep.audit()
    except FaultError as error:
        return error
    except WorldError:
        return None
    return divergence


def _shrink(trace: Trace, fails: Fails, subject: Subject, limit: int, stop: Stop) -> Minimal:
    def legal(candidate: Trace) -> int | None:
        try:
            subject.check_world(candidate.world)
            return fails(candidate)
        except WorldError:
            return None

    if trace.schedule:
        return _shrink_scheduled(trace, legal, subject, limit, stop)
    shrinker = Shrinker(trace, legal, subject.ops, subject.worlds, limit, stop)
    best = shrinker.run()
    return Minimal(
        best,
        Shrinking(
            from_ops=len(trace.ops),
            to_ops=len(best.ops),
            runs=shrinker.runs,
            complete=shrinker.complete,
        ),
    )


def _shrink_scheduled(
    trace: Trace, fails: Fails, subject: Subject, limit: int, stop: Stop
) -> Minimal:
    """The schedule made simpler, then the operations around those that run together, and again."""
    best, runs, complete = trace, 0, True
    progress = True
    while progress and runs < limit:
        start = best
        best, more = shrink_race(best, fails, limit - runs)
        runs += more
        around = _Around(parse_schedule(best.schedule), best, fails)
        bare = replace(best, schedule="")
        shrinker = Shrinker(bare, around.fails, subject.ops, subject.worlds, limit - runs, stop)
        best = around.scheduled(shrinker.run())
        runs += shrinker.runs
        complete = shrinker.complete
        progress = best != start
    size = len(trace.ops)
    done = Shrinking(from_ops=size, to_ops=len(best.ops), runs=runs, complete=complete)
    return Minimal(best, done)


class _Around:
    """Lets what makes traces minimal work on one with a schedule, which keeps its place before the
    operations that come last.
    """

    def __init__(self, schedule: Schedule, trace: Trace, fails: Fails) -> None:
        self._schedule = schedule
        self._behind = len(trace.ops) - schedule.at
        self._kinds = self._together(trace)
        self._fails = fails

    def _together(self, trace: Trace) -> tuple[str, ...]:
        at = len(trace.ops) - self._behind
        return tuple(op.kind for op in trace.ops[max(at, 0) : at + self._schedule.tasks])

    def scheduled(self, trace: Trace) -> Trace:
        """The trace with the schedule where it belongs now."""
        return replace(
            trace, schedule=str(replace(self._schedule, at=len(trace.ops) - self._behind))
        )

    def fails(self, trace: Trace) -> int | None:
        """As the trace with the schedule does; what runs together stays of its kinds."""
        if len(trace.ops) < self._behind or self._together(trace) != self._kinds:
            return None
        return None if self._fails(self.scheduled(trace)) is None else len(trace.ops) - 1


Flat = dict[str, Any]


def _flat(observation: Observation) -> Flat:
    return {path_text(path): value for path, value in _leaves((), observation)}


def _leaves(path: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _leaves((*path, position), inner)
    else:
        yield path, value


def _changed(last: tuple[Flat, Flat], now: tuple[Flat, Flat]) -> Iterator[FieldChange]:
    for field in dict.fromkeys([*last[0], *now[0], *last[1], *now[1]]):
        one, other = (side.get(field, ABSENT) for side in now)
        if one != last[0].get(field, ABSENT) or other != last[1].get(field, ABSENT):
            yield FieldChange(
                field=field, before=plain(one), after=plain(other), differs=one != other
            )
