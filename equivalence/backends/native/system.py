"""A native system as the engine drives it, and whole traces in one call."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from equivalence.backends.native import decode
from equivalence.backends.native.boundaries import Symbols, Together
from equivalence.backends.native.build import NativeImage
from equivalence.backends.native.encode import Encoder, errno_name, lacks
from equivalence.backends.native.places import Places
from equivalence.backends.native.worker import (
    ENDINGS,
    SECTIONS,
    Event,
    Fatal,
    Job,
    RawResult,
    RawRun,
    RawSchedule,
    RawTrace,
    Worker,
    signal_name,
)
from equivalence.schedule import parse_schedule
from equivalence.subject import Branch, Observation, Relation, WorldError
from models.schema.outcome import REFUSED, Ending, Outcome
from models.schema.trace import Args, Op, Trace

#: The sections that user space can read; ``user`` holds mounts, files and processes.
USER_SECTIONS: Final = frozenset({"counters", "nodes", "user", "cgroups"})
_USER_DIGEST: Final = tuple(number for number, name in enumerate(SECTIONS) if name in USER_SECTIONS)
_STATE_DIGEST: Final = tuple(number for number, name in enumerate(SECTIONS) if name != "effects")
_BLOCK_MB: Final = 2
#: States of one session that are kept at most, each by a process.
_MARKS: Final = 6
#: What a system has done: operations, and some that ran together with their switches.
Past = Op | tuple[tuple[Op, ...], tuple[tuple[int, int], ...]]
#: Operations that a session has room for at first, and at most.
_FIRST_OPS: Final = 512
_SESSION_OPS: Final = 20_000
_KNOWN: Final = frozenset(
    [
        "nodes",
        "node_mb",
        "hstates",
        "nr_hugepages",
        "nr_overcommit_hugepages",
        "nr_hugepages_1g",
        "nr_overcommit_hugepages_1g",
        "memory_hugetlb_accounting",
    ]
)


@dataclass(frozen=True, slots=True)
class World:
    """A world in the driver's terms."""

    nodes: int
    giant: bool
    numbers: tuple[int, ...]


def hosted_world(world: Args) -> Args:
    """The world without what this tier's configuration lacks: memory cgroups."""
    return {key: value for key, value in world.items() if key != "memory_hugetlb_accounting"}


def world_of(world: Args) -> World:
    """Translate a world.

    Raises:
        WorldError: a key or value that this tier cannot boot.
    """
    for key in world:
        if key not in _KNOWN:
            known = ", ".join(sorted(_KNOWN))
            msg = f"world: {key!r} is unknown to the native tier, expected one of {known}"
            raise WorldError(msg)
    if world.get("memory_hugetlb_accounting"):
        msg = "world: the native tier has no memory_hugetlb_accounting; leave it out"
        raise WorldError(msg)
    nodes = world.get("nodes", 2)
    if not isinstance(nodes, int) or not 1 <= nodes <= 4:
        msg = f"world: nodes={nodes}, expected 1 to 4"
        raise WorldError(msg)
    giant = "1G" in str(world.get("hstates", "2M"))

    def count(key: str) -> int:
        value = world.get(key, 0)
        if not isinstance(value, int) or not 0 <= value < 1 << 63:
            msg = f"world: {key}={value}, expected a number of huge pages"
            raise WorldError(msg)
        return value

    sizes = str(world.get("node_mb", 4096 if giant else 512)).split(",")
    if not all(size.isdigit() for size in sizes):
        msg = f"world: node_mb={world.get('node_mb')}, expected MiB, or a list such as 512,1024"
        raise WorldError(msg)
    blocks = [int(sizes[min(n, len(sizes) - 1)]) // _BLOCK_MB or -1 for n in range(4)]
    pools = [
        count(key)
        for key in (
            "nr_hugepages",
            "nr_overcommit_hugepages",
            "nr_hugepages_1g",
            "nr_overcommit_hugepages_1g",
        )
    ]
    return World(nodes, giant, (*pools, *blocks))


@dataclass(frozen=True)
class Step:
    """One operation of a trace that was run: what it returned, and the state after it.

    ``digests`` are 64 bit, by section. ``words`` are the state, if it was asked for;
    :meth:`observation` reads them.
    """

    outcome: Outcome
    digests: tuple[int, ...]
    words: tuple[int, ...]
    encoder: Encoder

    @cached_property
    def observation(self) -> Observation:
        """The state by section; empty unless it was asked for."""
        return decode.observation(self.words, self.encoder) if self.words else {}


def stay_on_one_processor() -> None:
    """Let a process that runs jobs, and the workers it starts, take turns on one processor.

    They never run at the same time, and waking another processor takes longer than most operations.
    Does nothing in a process that is not one of several.
    """
    process = multiprocessing.current_process()
    number = process.name.rpartition("-")[2]
    if multiprocessing.parent_process() is None or not number.isdigit():
        return
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[int(number) % len(allowed)]})


class Runner:
    """Keeps the workers of an image, one for each kind of world."""

    def __init__(self, image: NativeImage) -> None:
        self.image = image
        self.places = Places(image.path)
        self.symbols = Symbols(image.path)
        self._owner = os.getpid()
        stay_on_one_processor()
        self._workers: dict[tuple[int, bool], Worker] = {}

    def worker(self, world: World) -> Worker:
        """A worker whose nodes and page sizes are those of the world."""
        if self._owner != os.getpid():  # forked: the workers are the parent's
            self._owner = os.getpid()
            self._workers = {}
            stay_on_one_processor()
        key = (world.nodes, world.giant)
        if key in self._workers and self._workers[key].gone:
            self.discard(self._workers[key])
        if key not in self._workers:
            self._workers[key] = Worker(str(self.image.path), nodes=world.nodes, giant=world.giant)
        return self._workers[key]

    def discard(self, worker: Worker) -> None:
        """Forget a worker that broke."""
        worker.close()
        self._workers = {key: one for key, one in self._workers.items() if one is not worker}

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All that this process runs."""
        return tuple(self._workers.values()) if self._owner == os.getpid() else ()

    def close(self) -> None:
        """Stop all workers."""
        for worker in self.workers:
            worker.close()
        self._workers.clear()

    def outcome(
        self, result: RawResult, events: Sequence[Event], fatal: Fatal | None, number: int
    ) -> Outcome:
        """What one operation returned, in the schema's terms."""
        warnings = tuple(
            f"{event.function}: {event.text}"
            for event in events
            if event.op == number and event.kind == 1
        )
        if fatal is not None and fatal.op == number:
            detail, place = self._where(fatal, events)
            return Outcome(
                ret=-1,
                ending=_ending(fatal.ending),
                detail=detail,
                warnings=warnings,
                place=place,
            )
        if ENDINGS[result.ending] == "refused":
            return REFUSED
        if result.signal:
            return Outcome(
                ret=-1,
                signal=signal_name(result.signal),
                si_code=result.si_code,
                warnings=warnings,
            )
        if result.ret:
            return Outcome(ret=-1, errno=errno_name(-result.ret), warnings=warnings)
        return Outcome(value=result.value, warnings=warnings)

    def _where(self, fatal: Fatal, events: Sequence[Event]) -> tuple[str, str]:
        """What ended the operation in which function of the C; and its file and line."""
        bug = next((event for event in events if event.op == fatal.op and event.kind == 2), None)
        text = f"{bug.function}: {bug.text or 'BUG()'}" if bug is not None else fatal.text
        if ENDINGS[fatal.ending] == "corruption":
            text = f"corruption: {text}"
        hang = ENDINGS[fatal.ending] == "hang"
        place = self.places.blame(fatal.frames, interrupted=hang)
        if place is None:
            return text, ""
        return f"{text} in {place.function} ({place.file})", f"{place.file}:{place.line}" * bool(
            place.line
        )


def schedule_of(trace: Trace) -> RawSchedule | None:
    """Which operations of a trace run together, as far as it has them.

    Raises:
        TraceError: it is no schedule, or has more switches than the driver has room for.
    """
    if not trace.schedule:
        return None
    schedule = parse_schedule(trace.schedule)
    tasks = min(schedule.tasks, len(trace.ops) - schedule.at)
    return RawSchedule(schedule.at + 1, tasks, schedule.switches) if tasks > 0 else None


def _ending(number: int) -> Ending:
    """The schema's word: a corrupted allocator or lock counts as a crash."""
    name = ENDINGS[number]
    if name in ("bug", "crash", "hang", "deadlock", "unmodelled"):
        return name  # type: ignore[return-value]
    return "crash"


def run_traces(
    runner: Runner,
    traces: Sequence[Trace],
    *,
    observe: bool = False,
    serials: Sequence[Sequence[int]] | None = None,
    seconds: float = 5.0,
) -> list[list[Step]]:
    """Run whole traces, each in a process of its own; the first step is the state after booting.

    A trace that ends early (crash, hang, BUG) has fewer steps than operations; its last outcome
    says why. ``serials`` are what writes store, by default the operation's number.

    Raises:
        WorldError: a world this tier cannot boot.
        TraceError: names or words this tier does not know.
        WorkerError: a worker broke.
    """
    made: list[list[Step]] = []
    for number, trace in enumerate(traces):
        world = world_of(trace.world)
        encoder = Encoder()
        ops = encoder.encode_all(trace.ops, serials[number] if serials else None)
        worker = runner.worker(world)
        job = Job(ops, world.numbers, observe=observe, seconds=seconds, schedule=schedule_of(trace))
        raw = worker.run([job])[0]
        made.append(_steps(runner, raw, encoder))
    return made


def run_trace(
    image: NativeImage, trace: Trace, *, observe: bool = True, seconds: float = 5.0
) -> list[Step]:
    """Run one trace on an image.

    Raises:
        WorldError, TraceError, WorkerError: as :func:`run_traces`.
    """
    runner = Runner(image)
    try:
        return run_traces(runner, [trace], observe=observe, seconds=seconds)[0]
    finally:
        runner.close()


def _steps(runner: Runner, raw: RawTrace, encoder: Encoder) -> list[Step]:
    return [
        Step(
            runner.outcome(result, raw.events, raw.fatal, number),
            result.digest,
            result.observation,
            encoder,
        )
        for number, result in enumerate(raw.results)
    ]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state: the process that keeps it, if its session still runs, and how to come there again.

    ``session`` and ``mark`` say which process; a mark of -1 says that none does.
    """

    world: Args
    past: tuple[Past, ...]
    encoder: Encoder
    last: RawRun | RawResult | None
    dead: bool
    session: int
    mark: int


def _digest(result: RawResult, relation: Relation) -> tuple[int, ...]:
    chosen = _USER_DIGEST if relation == "user" else _STATE_DIGEST
    return tuple([result.digest[number] for number in chosen])


def _latest(seen: RawRun | RawResult) -> RawResult:
    return seen.results[-1] if isinstance(seen, RawRun) else seen


class Ran:
    """What several operations came to; decoded when it is asked for.

    With ``booted`` the first result is the state after booting, which no operation made.
    """

    def __init__(self, runner: Runner, raw: RawRun, first: int, *, booted: bool) -> None:
        self._runner, self._raw = runner, raw
        self._first, self._booted = first, booted

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of each operation, up to the first that is fatal."""
        raw, outcome = self._raw, self._runner.outcome
        made = [
            outcome(result, raw.events, raw.fatal, number)
            for number, result in enumerate(raw.results, start=self._first)
        ]
        return tuple(made[self._booted :])

    @cached_property
    def end(self) -> Outcome:
        """What ended the system, if something did: while it booted, maybe."""
        raw = self._raw
        assert raw.fatal is not None
        return self._runner.outcome(raw.results[-1], raw.events, raw.fatal, raw.fatal.op)

    def states(self, relation: Relation) -> tuple[Hashable, ...]:
        """The digest after each operation."""
        results = self._raw.results[self._booted :]
        return tuple([_digest(result, relation) for result in results])

    def agrees(self, other: object, relation: Relation) -> bool:
        """Whether both are the same, operation by operation: outcomes and compared states.

        Where an operation that never ends was stopped is chance: two hangs agree.
        """
        if not isinstance(other, Ran) or len(self._raw.blob) != len(other._raw.blob):
            return False
        ends = self._raw.fatal, other._raw.fatal
        if ends != (None, None):
            if ends[0] is None or ends[1] is None:
                return False
            one, two = self.end, other.end
            if not (one.ending == two.ending == "hang" or one.alike(two)):
                return False
        if self._raw.blob == other._raw.blob:
            return True
        if relation == "effects":
            return False
        pairs = zip(self._raw.results, other._raw.results, strict=True)
        return all(
            returned(one) == returned(two) and _digest(one, relation) == _digest(two, relation)
            for one, two in pairs
        )


def returned(one: RawResult) -> tuple[int | None, ...]:
    """What an operation gave back, without the state behind it."""
    return one.ending, one.ret, one.signal, one.si_code, one.value, one.warning_hash


class NativeSystem:
    """One image, booted in one world, one operation at a time: the engine's protocol.

    A snapshot is a process that waits while a copy of it goes on; going back makes another copy.
    Where too many wait already, or the session is over, going back runs the trace again.
    """

    def __init__(
        self, image: NativeImage, *, runner: Runner | None = None, seconds: float = 5.0
    ) -> None:
        self._runner = runner or Runner(image)
        #: Seconds of CPU time after which an operation is a hang.
        self._seconds = seconds
        self._worker: Worker | None = None
        self._world: Args = {}
        self._past: list[Past] = []
        self._count = 0
        #: Of each process that keeps a state, outermost first: its number, and how much it has.
        self._marks: list[tuple[int, int]] = []
        self._marked = 0
        self._dead = False
        self._last: RawRun | RawResult | None = None
        self._sent: tuple[int, bool] | None = None
        self._end = ""
        self._session = 0
        self._room = _FIRST_OPS

    @property
    def sections(self) -> frozenset[str]:
        """The sections of the observation this system can show."""
        return frozenset(SECTIONS) - {"effects"}

    def lacks(self, op: Op) -> bool:
        """Whether this tier cannot run the operation: it is refused."""
        return lacks(op)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of one kind (``proc``, ``map``, ``shm``...) used since booting."""
        return tuple(self._encoder.names(kind).values())

    def boot(self, world: Args) -> None:
        """Start afresh in ``world``.

        Raises:
            WorldError: the world cannot boot.
            WorkerError: the worker broke.
        """
        self._replay(world, [])

    def _replay(self, world: Args, past: Sequence[Past], room: int = _FIRST_OPS) -> None:
        together = next((n for n, one in enumerate(past) if not isinstance(one, Op)), len(past))
        ops = [one for one in past[:together] if isinstance(one, Op)]
        self._open(world, ops, room)
        self.receive()
        for done in past[together:]:
            if isinstance(done, Op):
                self.apply(done)
            else:
                self.apply_together(*done)

    def send(self, ops: Sequence[Op], world: Args | None = None) -> None:
        """Start running operations, in ``world`` if one is given: one call for all of them.

        Raises:
            WorldError: the world cannot boot, or the session would be too long.
            WorkerError: the worker broke.
        """
        if world is not None:
            self._open(world, ops, _FIRST_OPS)
        elif self._dead or self._worker is None or not ops:
            self._sent = None
        else:
            self._resume()
            self._make_room(len(ops))
            first = self._count + 1
            records = self._encoder.encode_all(ops)
            self._past += ops
            self._count += len(ops)
            self._worker.session_send(first, records)
            self._sent = first, False

    def _open(self, world: Args, ops: Sequence[Op], room: int) -> None:
        translated = world_of(world)
        self.close_session()
        room = max(room, min(2 * len(ops), _SESSION_OPS))
        if len(ops) > _SESSION_OPS:
            msg = f"a native session has room for {_SESSION_OPS} operations; use whole traces"
            raise WorldError(msg)
        worker = self._runner.worker(translated)
        self._encoder = Encoder()
        records = self._encoder.encode_all(ops)
        worker.open_session(Job(records, translated.numbers, seconds=self._seconds), room)
        self._room, self._session = room, worker.session
        self._worker, self._world = worker, dict(world)
        self._past, self._count, self._marks = list(ops), len(ops), []
        self._dead, self._last, self._end = False, None, ""
        self._sent = 0, True

    def receive(self) -> Ran:
        """What came of what was sent; after a fatal outcome the system stays dead.

        Raises:
            WorkerError: the worker broke.
        """
        if self._sent is None or self._worker is None:
            return Ran(self._runner, RawRun(b""), 0, booted=False)
        first, booted = self._sent
        self._sent = None
        raw = self._worker.session_receive()
        if raw.blob:  # nothing was sent otherwise: the state is the one before
            self._last = raw
        ran = Ran(self._runner, raw, first, booted=booted)
        if raw.fatal is not None:
            self._die(ran.end)
            unrun = self._count - raw.fatal.op
            del self._past[len(self._past) - unrun :]
            self._count -= unrun
        return ran

    def _die(self, end: Outcome) -> None:
        self._dead = True
        self._end = f"{end.ending}: {end.detail}"

    def _resume(self) -> None:
        """If another system took the worker meanwhile, come back to where this one was."""
        if self._worker is not None and self._worker.session != self._session:
            self._replay(self._world, tuple(self._past), self._room)

    def close_session(self) -> None:
        """End the booted world, if there is one."""
        worker = self._worker
        mine = worker is not None and worker.owner == os.getpid()
        if worker is not None and mine and not self._dead and worker.session == self._session:
            worker.close_session()
        self._worker = None

    def close(self) -> None:
        """Stop everything."""
        self._worker = None
        self._runner.close()

    def apply(self, op: Op) -> Outcome:
        """Run one operation; after a fatal outcome the system stays dead and refuses the rest."""
        if self._dead or self._worker is None:
            return REFUSED
        self.send((op,))
        return self.receive().outcomes[0]

    def _make_room(self, more: int) -> None:
        needed = self._count + more
        if needed <= self._room:
            return
        if needed > _SESSION_OPS:
            msg = f"a native session has room for {_SESSION_OPS} operations; use whole traces"
            raise WorldError(msg)
        self._replay(self._world, tuple(self._past), min(8 * self._room, _SESSION_OPS))

    def apply_together(self, ops: Sequence[Op], switches: Sequence[tuple[int, int]]) -> Together:
        """Run operations together, one in each task, switching where ``switches`` says.

        What ends one task ends all: the others come to the same ending.
        """
        if self._dead or self._worker is None:
            return Together((REFUSED,) * len(ops), (), ())
        self._resume()
        self._make_room(len(ops))
        records = [self._encoder.encode(op) for op in ops]
        schedule = RawSchedule(self._count + 1, len(ops), tuple(switches))
        self._past.append((tuple(ops), tuple(switches)))
        self._count += len(ops)
        results, raw = self._worker.session_together(schedule, records)
        passed = self._worker.together(self._runner.symbols)
        self._last = results[-1]
        outcomes: list[Outcome] = []
        for task, result in enumerate(results):
            number = schedule.at + task
            if raw.fatal is not None and raw.fatal.op != number and not passed.ended >> task & 1:
                detail = f"ended with operation {raw.fatal.op - schedule.at + 1} of those together"
                outcomes.append(Outcome(-1, ending=_ending(raw.fatal.ending), detail=detail))
            else:
                outcomes.append(self._runner.outcome(result, raw.events, raw.fatal, number))
        if raw.fatal is not None:
            self._die(next(outcome for outcome in outcomes if outcome.fatal))
        return Together(tuple(outcomes), passed.boundaries, passed.inversions)

    def observe(self) -> Observation:
        """The canonical state; of a dead system, the empty observation."""
        if self._dead or self._worker is None:
            return {}
        self._resume()
        words = self._worker.session_look(self._count)
        found: dict[str, Any] = decode.observation(words, self._encoder)
        found.pop("effects", None)
        return found

    def digest(self, relation: Relation) -> Hashable:
        """64-bit digests of the sections that ``relation`` compares."""
        if self._dead or self._last is None:
            return self._end
        return _digest(_latest(self._last), relation)

    def drain_effects(self) -> tuple[str, ...]:
        """One word that stands for the ordered calls into the page allocator."""
        if self._last is None or self._dead:
            return ()
        value = _latest(self._last).digest[SECTIONS.index("effects")]
        return (f"buddy {value:016x}",)

    def state_key(self) -> Hashable:
        """The state without history (:file:`shim/key.c`): equal keys behave alike."""
        if self._dead or self._worker is None:
            return "dead"
        self._resume()
        return self._worker.session_key()

    def branches(self, ops: Sequence[Op], relation: Relation) -> list[Branch | None]:
        """What each operation comes to in the present state, each in a process of its own."""
        if self._dead or self._worker is None:
            return [None] * len(ops)
        self._resume()
        self._make_room(len(ops) + 1)
        number = self._count + 1
        records = [self._encoder.copy().encode(op) for op in ops]
        made: list[Branch | None] = []
        for found in self._worker.session_branches(number, records):
            if found is None or found[0].warnings:
                made.append(None)
                continue
            outcome = self._runner.outcome(found[0], (), None, number)
            made.append(Branch(outcome, _digest(found[0], relation), found[1]))
        return made

    def snapshot(self) -> object:
        """The present state, kept by a process that waits."""
        past = tuple(self._past)
        if self._worker is not None and not self._dead:
            self._resume()
            if not self._at_mark() and len(self._marks) < _MARKS:
                self._worker.session_mark()
                self._marked += 1
                self._marks.append((self._marked, len(past)))
        mark = self._marks[-1][0] if self._at_mark() else -1
        encoder = self._encoder.copy()
        return Snapshot(self._world, past, encoder, self._last, self._dead, self._session, mark)

    def _at_mark(self) -> bool:
        """Whether nothing was done since the last state was kept."""
        return not self._dead and bool(self._marks) and self._marks[-1][1] == len(self._past)

    def restore(self, snapshot: object) -> None:
        """Go back to a snapshot: by its process, or by running its trace again."""
        assert isinstance(snapshot, Snapshot)
        worker = self._worker
        marks = [number for number, _ in self._marks]
        mine = worker is not None and worker.session == self._session == snapshot.session
        if worker is None or not mine or snapshot.mark not in marks:
            self._replay(snapshot.world, snapshot.past)
            return
        levels = len(marks) - marks.index(snapshot.mark)
        if levels > 1 or not self._at_mark():
            worker.session_back(levels)
        del self._marks[len(marks) - levels + 1 :]
        self._past = list(snapshot.past)
        self._count = sum(1 if isinstance(one, Op) else len(one[0]) for one in self._past)
        self._encoder = snapshot.encoder.copy()
        self._last, self._dead = snapshot.last, snapshot.dead
