"""What each side of a pair says of a trace: outcome and readable counters after each operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from equivalence.subjects.hugetlb.recording import Json
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Trace


class Readable(Protocol):
    """A system whose counters can be read as user space reads them."""

    def boot(self, world: Args) -> None:
        """Start afresh."""

    def apply(self, op: Op) -> Outcome:
        """Run one operation."""

    def view(self) -> Json:
        """The state in the shape of an operation line of a recording."""


class Counter(NamedTuple):
    """One number that user space can read.

    ``kind`` is ``pool``, ``node``, ``mount``, ``cgroup`` or ``proc``; ``owner`` the node's number
    or the thing's name ("" for the pool), ``field`` the word of the recordings.
    """

    kind: str
    owner: str
    field: str


@dataclass(frozen=True, slots=True)
class Side:
    """What one side announces: at the start, and after each operation that could run."""

    initial: Mapping[Counter, int]
    outcomes: tuple[Outcome, ...]
    states: tuple[Mapping[Counter, int], ...]


_MOUNT: Final = ("f_bfree",)
_CGROUP: Final = ("current", "rsvd.current", "events_max")


def announce(system: Readable, trace: Trace) -> Side:
    """Run a trace alone on one side; it ends early where the system cannot go on.

    Operations of a trace with a schedule run one after the other, as those of a program do.
    """
    system.boot(trace.world)
    initial = dict(_counters(system.view()))
    outcomes, states = [], []
    last = initial
    for op in trace.ops:
        outcome = system.apply(op)
        outcomes.append(outcome)
        if not outcome.fatal:
            last = dict(_counters(system.view()))
        states.append(last)
        if outcome.fatal:
            break
    return Side(initial, tuple(outcomes), tuple(states))


def _counters(view: Json) -> Iterator[tuple[Counter, int]]:
    for field, value in view["pool"].items():
        yield Counter("pool", "", field), int(value)
    for number, node in enumerate(view["nodes"]):
        for field, value in node.items():
            yield Counter("node", str(number), field), int(value)
    for name, mount in view["mounts"].items():
        yield from _named("mount", name, mount, _MOUNT)
    for name, cgroup in view.get("cgroups", {}).items():
        yield from _named("cgroup", name, cgroup, _CGROUP)
    for name, proc in view["procs"].items():
        yield from _named("proc", name, proc, ("hugetlb_pages",))


def _named(
    kind: str, name: str, values: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[tuple[Counter, int]]:
    for field in fields:
        if field in values:
            yield Counter(kind, name, field), int(values[field])
