"""Calibration: does a tier at a step say what a real kernel said?

A recording's operations are replayed on a system, and after each one everything that the recording
holds is compared: the result, all counters, statfs of the mounts, the cgroups' files, and of each
process its open files and, page by page, its mappings; then what is left once everything was torn
down. A trace is compared up to its first operation that disagrees: after that the two sides are no
longer in the same state.

Two things are not compared. Frame numbers are what the buddy allocator has to give; in their place
the frames of both sides are paired, each with one other for as long as the page stays in the pool
(and on the same node), so that *which* pages are the same page is compared, over time as well. The
kernel log is rate limited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from equivalence.backends.port import PortSystem
from equivalence.subject import Excluded
from equivalence.subjects.hugetlb.recording import Json, Recording, recorded_result
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op

#: What stands for a value that one side does not have.
ABSENT: Final = "(absent)"

NOT_COMPARED: Final = (
    Excluded(
        "procs",
        "maps: frame numbers",
        "the buddy allocator gives what it has (mm/page_alloc.c, rmqueue); which pages are the"
        " same page, and on which node, is compared",
    ),
    Excluded("klog", "*", "printk_ratelimited() drops lines by the time that passed"),
)

#: Parts of an operation line that the state after it is made of.
_STATE: Final = ("pool", "nodes", "mounts", "cgroups", "procs")


class Replayer(Protocol):
    """A system that can show what a recording holds."""

    def boot(self, world: Args) -> None:
        """Start afresh."""

    def apply(self, op: Op) -> Outcome:
        """Run one operation."""

    def view(self) -> Json:
        """The state in the shape of an operation line; frames under any names."""

    def frames(self) -> Mapping[str, object]:
        """Each page in the pool by its ``node:frame``; a token that is the same object as long as
        the page stays."""

    def tail(self) -> Json:
        """Tear everything down; the tail line."""


class Disagreement(NamedTuple):
    """One field on which recording and system disagree.

    ``number`` is the operation's, 0 before the first one; ``op`` is ``boot`` then, and ``tail``
    after the last one.
    """

    trace: str
    number: int
    op: str
    field: str
    recorded: Any
    computed: Any


class Cell(NamedTuple):
    """One row of the table: how much was compared, and how many operations disagreed."""

    operations: int
    fields: int
    disagreeing: int


@dataclass(slots=True)
class Calibration:
    """What a calibration found. Operations that follow a disagreement are not counted."""

    traces: int = 0
    agreeing: int = 0
    operations: Counter[tuple[str, str]] = field(default_factory=Counter)
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreeing: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Of each trace that disagrees, the differing fields of its first disagreeing operation.
    disagreements: list[Disagreement] = field(default_factory=list)
    skipped_operations: int = 0
    #: Recordings that the tier cannot run: name -> an operation that it lacks.
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every field of every trace agreed."""
        return not self.disagreements

    def table(self) -> dict[tuple[str, str], Cell]:
        """(profile, operation) -> what was compared; sorted."""
        return {
            key: Cell(self.operations[key], self.fields[key], self.disagreeing[key])
            for key in sorted(self.operations)
        }

    def first(self) -> dict[str, Disagreement]:
        """Of each trace that disagrees, the first differing field."""
        found: dict[str, Disagreement] = {}
        for one in self.disagreements:
            found.setdefault(one.trace, one)
        return found

    def as_json(self) -> Json:
        """``equivcheck/calibration/1``."""
        return {
            "schema": "equivcheck/calibration/1",
            "traces": self.traces,
            "operations": sum(self.operations.values()),
            "fields": sum(self.fields.values()),
            "agreeing_traces": self.agreeing,
            "not_reached": self.skipped_operations,
            "left_out": [{"trace": name, "lacks": op} for name, op in self.left_out.items()],
            "table": [
                {"profile": profile, "op": op, **cell._asdict()}
                for (profile, op), cell in self.table().items()
            ],
            "disagreements": [
                {
                    "trace": one.trace,
                    "number": one.number,
                    "op": one.op,
                    "field": one.field,
                    "recorded": one.recorded,
                    "computed": one.computed,
                }
                for one in self.disagreements
            ],
            "not_compared": [asdict(one) for one in NOT_COMPARED],
        }


class Pairing:
    """Pairs the frames of a recording with those of a system, one to one.

    A pair ends when the system's page leaves the pool: both frames may then be other pages.
    """

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}
        self._recorded: dict[str, tuple[str, object]] = {}

    def forget_gone(self, frames: Mapping[str, object]) -> None:
        """End the pairs of pages that are no longer in the pool."""
        gone = [
            (recorded, ours)
            for recorded, (ours, token) in self._recorded.items()
            if frames.get(ours) is not token
        ]
        for recorded, ours in gone:
            del self._recorded[recorded]
            del self._ours[ours]

    def name(self, recorded: str | None, ours: str | None, frames: Mapping[str, object]) -> Any:
        """What to write for our page beside the recorded one: that one exactly if they agree."""
        if ours is None or recorded is None or ":" not in ours or ":" not in recorded:
            return ours
        if recorded.partition(":")[0] != ours.partition(":")[0]:
            return f"{ours} (another node)"
        known = self._ours.get(ours)
        if known is None and recorded not in self._recorded:
            self._ours[ours] = recorded
            self._recorded[recorded] = (ours, frames.get(ours))
            return recorded
        if known == recorded:
            return recorded
        if known is not None:
            return f"{known} (the page known by this)"
        return f"{ours} (a page not seen before)"


class Session:
    """One trace on a system beside what the kernel said: what was compared goes to a result."""

    def __init__(self, system: Replayer, name: str, profile: str, result: Calibration) -> None:
        self._system = system
        self._name = name
        self._profile = profile
        self._result = result
        self._pairing = Pairing()
        result.traces += 1

    def begin(self, world: Args, initial: Json) -> bool:
        """Boot; whether the state is the recorded one."""
        self._system.boot(world)
        return self._compare(0, "boot", _state(initial), _state(self._view(initial)))

    def compare(self, number: int, kind: str, line: Json, outcome: Outcome) -> bool:
        """Whether an operation that the system has run, and the state, are those of a line."""
        computed: Json = {"result": _result(outcome)}
        if not outcome.fatal:
            computed |= _state(self._view(line))
        return self._compare(number, kind, {"result": line["result"], **_state(line)}, computed)

    def end(self, number: int, tail: Json) -> bool:
        """Tear everything down; whether what is left is what the recording says."""
        agreed = self._compare(number, "tail", tail, self._system.tail())
        self._result.agreeing += agreed
        return agreed

    def _view(self, line: Json) -> Json:
        return _paired(line, self._system, self._pairing)

    def _compare(self, number: int, kind: str, recorded: Json, computed: Json) -> bool:
        key = self._profile, kind
        self._result.operations[key] += 1
        self._result.fields[key] += count_fields(recorded)
        if recorded == computed:
            return True
        self._result.disagreeing[key] += 1
        self._result.disagreements.extend(
            Disagreement(self._name, number, kind, path, one, other)
            for path, one, other in unequal("", recorded, computed)
        )
        return False


def replay(recording: Recording, system: Replayer, result: Calibration) -> None:
    """Replay one recording on a system and add to the result what was compared and found."""
    session = Session(system, recording.name, recording.profile, result)
    agreed = session.begin(recording.world, recording.head["initial"])
    left = len(recording.lines)
    for number, (op, line) in enumerate(recording.numbered(), start=1):
        if not agreed:
            break
        outcome = system.apply(op)
        if line is None:
            continue
        left -= 1
        agreed = session.compare(number, op.kind, line, outcome)
    result.skipped_operations += left
    if agreed:
        session.end(recording.lines[-1]["i"] if recording.lines else 0, recording.tail)


def calibrate(
    recordings: Iterable[Recording],
    system: Replayer,
    watch: Callable[[Recording, Calibration], None] | None = None,
) -> Calibration:
    """Replay recordings on a system, each from a fresh boot; ``watch`` is told after each."""
    result = Calibration()
    for recording in recordings:
        replay(recording, system, result)
        if watch is not None:
            watch(recording, result)
    return result


def _state(line: Json) -> Json:
    return {key: line[key] for key in _STATE if key in line}


def _result(outcome: Outcome) -> Json:
    """An outcome as an operation line writes it; an ending that is no return shows as a field."""
    result = recorded_result(
        outcome.ret, outcome.errno, outcome.signal, outcome.si_code, outcome.value
    )
    if outcome.ending != "returned":
        result["ending"] = f"{outcome.ending}: {outcome.detail}".rstrip(": ")
    return result


def _paired(line: Json, system: Replayer, pairing: Pairing) -> Json:
    """The system's view with the recording's frame numbers wherever the pages correspond."""
    view = system.view()
    frames = system.frames()
    pairing.forget_gone(frames)
    for process, shown in view["procs"].items():
        recorded_maps = line["procs"].get(process, {}).get("maps", {})
        for name, pages in shown["maps"].items():
            recorded = recorded_maps.get(name, ())
            if len(recorded) == len(pages):
                pages[:] = [
                    pairing.name(one, ours, frames)
                    for one, ours in zip(recorded, pages, strict=True)
                ]
    return view


def count_fields(value: Any) -> int:
    """How many values a line holds; an empty list or table is one."""
    if isinstance(value, dict):
        return sum(map(count_fields, value.values())) or 1
    if isinstance(value, list):
        return sum(map(count_fields, value)) or 1
    return 1


def unequal(path: str, recorded: Any, computed: Any) -> Iterator[tuple[str, Any, Any]]:
    """The paths at which two lines differ, with both values."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        for key in dict.fromkeys([*recorded, *computed]):
            below = f"{path}.{key}" if path else str(key)
            yield from unequal(below, recorded.get(key, ABSENT), computed.get(key, ABSENT))
    elif (
        isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed)
    ):
        for at, (one, other) in enumerate(zip(recorded, computed, strict=True)):
            yield from unequal(f"{path}[{at}]", one, other)
    elif recorded != computed:
        yield path, recorded, computed


class PortReplayer:
    """The port tier, shown as recordings show the kernel."""

    def __init__(self, system: PortSystem) -> None:
        self._system = system

    def boot(self, world: Args) -> None:
        """Start afresh."""
        self._system.boot(world)

    def apply(self, op: Op) -> Outcome:
        """Run one operation."""
        return self._system.apply(op)

    def view(self) -> Json:
        """The state in the shape of an operation line."""
        view: Json = self._system.namespace["readout"]()
        return view

    def frames(self) -> Mapping[str, object]:
        """Each page in the pool by its ``node:frame``."""
        frames: Mapping[str, object] = self._system.namespace["read_frames"]()
        return frames

    def tail(self) -> Json:
        """Tear everything down; the tail line."""
        tail: Json = self._system.namespace["tear_down"]()
        return tail
