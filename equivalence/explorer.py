"""The exhaustive search: breadth first over all traces of a small world.

A node is a joint state of both sides, remembered by a hash of their state keys; what is kept of it
is only which operation led to it from which other node, so that memory grows by some hundred bytes
for each state. A node is expanded by replaying its shortest trace, and then trying every operation
from there, with a snapshot to go back to. The frontier is cut into chunks of fixed size whose
results are taken in order: counts, and the first divergence, do not depend on the number of jobs.

Breadth first, so the first divergence found has as few operations as any. When no node is left, the
world is explored to its *fixpoint*: every reachable joint state agrees. What that rests on: states
of equal key behave alike for every operation (held by a test of the subject), and two keys of equal
128-bit hash are equal.
"""

from __future__ import annotations

import marshal
import time
from array import array
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Protocol, cast

from equivalence.driver import FaultError
from equivalence.search import Findings, Row, Session
from equivalence.subject import Batch, Branching, Evidence, System
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Trace

#: Nodes that one job expands.
CHUNK: Final = 16
#: States remembered at most, unless the caller says otherwise.
MAX_STATES: Final = 1_000_000
TOKEN_BYTES: Final = 16


class StaleError(ValueError):
    """An exploration that cannot be gone on with."""


Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SmallWorld:
    """A world small enough to be explored whole.

    ``start`` are operations run first, once; ``ops`` are tried in every state. ``depth`` bounds
    the traces (operations after ``start``) where the fixpoint is out of reach.
    """

    name: str
    about: str
    world: Args
    ops: tuple[Op, ...]
    start: tuple[Op, ...] = ()
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """A job: expand the nodes that these paths (indices of operations) lead to."""

    before: int
    after: int
    small: SmallWorld
    paths: tuple[Path, ...]
    known: frozenset[str] = frozenset()
    #: Only see what states the paths lead to, comparing on the way.
    look: bool = False


@dataclass(slots=True)
class Part:
    """What a job came to.

    ``found``: for each successor that the job met for the first time, the node (by its place in the
    job), the operation, and the state's token. ``ends`` counts operations after which the system
    could not go on. ``reached`` has the first trace to each row of a predicate.
    """

    findings: Findings
    found: list[tuple[int, int, bytes]] = field(default_factory=list)
    transitions: int = 0
    ends: int = 0
    reached: dict[Row, Trace] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exploring:
    """How far an exploration has come; ``frontier`` counts nodes that wait to be expanded."""

    world: str
    states: int
    transitions: int
    depth: int
    frontier: int
    seconds: float


@dataclass(slots=True)
class Exploration:
    """The graph as far as it is known: what a checkpoint holds.

    Node 0 is the state after ``start``; node k was first reached from ``parents[k]`` by operation
    ``ops[k]``. Nodes below ``expanded`` are done. ``levels[d]`` is the first node at depth d.
    ``bound`` says why it ends before the fixpoint ("" if it does not).
    """

    small: SmallWorld
    parents: array[int] = field(default_factory=lambda: array("l"))
    ops: array[int] = field(default_factory=lambda: array("H"))
    tokens: dict[bytes, None] = field(default_factory=dict)
    levels: list[int] = field(default_factory=list)
    expanded: int = 0
    transitions: int = 0
    ends: int = 0
    findings: Findings = field(default_factory=Findings)
    reached: dict[Row, Trace] = field(default_factory=dict)
    bound: str = ""
    interrupted: bool = False

    @property
    def states(self) -> int:
        """Distinct joint states reached."""
        return len(self.tokens)

    @property
    def depth(self) -> int:
        """Operations in the longest of the shortest traces."""
        return max(0, len(self.levels) - 1)

    @property
    def fixpoint(self) -> bool:
        """Whether every reachable state was expanded, and all agree."""
        done = self.states > 0 and self.expanded == self.states
        return done and not self.findings.over and not self.bound and not self.interrupted

    def path(self, node: int) -> Path:
        """The operations that lead to a node."""
        path = []
        while node > 0:
            path.append(self.ops[node])
            node = self.parents[node]
        return tuple(reversed(path))

    def add(self, parent: int, op: int, token: bytes) -> bool:
        """Remember a state; whether it is new."""
        if token in self.tokens:
            return False
        if not self.levels or parent >= self.levels[-1]:
            # The first child of the deepest nodes opens the next level.
            self.levels.append(len(self.tokens))
        self.tokens[token] = None
        self.parents.append(parent)
        self.ops.append(op)
        return True


class Expanders(Protocol):
    """Runs jobs, and yields what they came to in the order of the jobs."""

    def map(self, jobs: Iterable[Expansion]) -> Generator[Part, None, None]:
        """The parts, in the order of the jobs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where an exploration ends before its fixpoint; None: nowhere but at ``states``."""

    depth: int | None = None
    states: int = MAX_STATES


def explore(
    pool: Expanders,
    steps: tuple[int, int],
    found: Exploration,
    bounds: Bounds,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Exploring], None] = lambda event: None,
    on_level: Callable[[Exploration], None] = lambda found: None,
    known: frozenset[str] = frozenset(),
) -> None:
    """Go on with an exploration until its fixpoint, a divergence, a bound, or ``stop``.

    ``on_level`` is called whenever all known nodes are expanded, and when ``stop`` ends it.

    Raises:
        StaleError: it was begun with other code.
    """
    started = time.monotonic()
    small = found.small
    _look(pool, steps, found, known)
    limit = bounds.depth if bounds.depth is not None else small.depth
    while not found.findings.over:
        first, end = found.expanded, found.states
        if limit is not None and len(found.levels) > limit:
            end = found.levels[limit]
        if first == end:
            if end < found.states:
                found.bound = f"traces of at most {limit} operations"
            return
        chunks = [range(at, min(at + CHUNK, end)) for at in range(first, end, CHUNK)]
        jobs = [
            Expansion(*steps, small, tuple(found.path(node) for node in chunk), known)
            for chunk in chunks
        ]
        with closing(pool.map(jobs)) as parts:
            for chunk, part in zip(chunks, parts, strict=False):
                if _take(found, chunk.start, part):
                    return
                found.expanded = chunk.stop
                on_progress(
                    Exploring(
                        small.name,
                        found.states,
                        found.transitions,
                        found.depth,
                        found.states - found.expanded,
                        time.monotonic() - started,
                    )
                )
                found.interrupted = stop()
                if found.states > bounds.states:
                    found.bound = f"at most {bounds.states} states"
                if found.interrupted or found.bound:
                    break
        on_level(found)
        if found.interrupted or found.bound:
            return


def _look(
    pool: Expanders, steps: tuple[int, int], found: Exploration, known: frozenset[str]
) -> None:
    """Reach the first state; of an exploration that goes on, see that the code is still the same.

    Raises:
        StaleError: a state that was reached before now looks different.
    """
    nodes = sorted({0, found.states // 2, max(0, found.states - 1)})
    paths = tuple(found.path(node) for node in nodes)
    part = next(iter(pool.map([Expansion(*steps, found.small, paths, known, look=True)])))
    if found.states == 0:
        _take(found, 0, part)
        return
    kept = list(found.tokens)
    if [token for _, _, token in part.found] != [kept[node] for node in nodes]:
        msg = f"world {found.small.name}: the code has changed since the exploration began"
        raise StaleError(msg)


def _take(found: Exploration, first: int, part: Part) -> bool:
    """Add what a job found; whether that ends the exploration."""
    for place, op, token in part.found:
        found.add(first + place, op, token)
    found.transitions += part.transitions
    found.ends += part.ends
    found.findings.add(part.findings)
    for row, trace in part.reached.items():
        found.reached.setdefault(row, trace)
    return found.findings.over


class Expander(Session):
    """Expands nodes: a session whose traces branch."""

    def expand(self, job: Expansion) -> Part:
        """Try every operation in every node, or only look at the nodes."""
        self.small = job.small
        self.part = Part(self.findings)
        sides = self.lockstep.before, self.lockstep.after
        self._tables = [system.rows() for system in sides if isinstance(system, Evidence)]
        self._rows_seen = 0
        met: set[bytes] = set()
        for place, path in enumerate(job.paths):
            if job.look:
                if self._run(path):
                    self.part.found.append((place, 0, token(*sides)))
            else:
                self._goto(path)
                for op, state in self._successors():
                    if state not in met:
                        met.add(state)
                        self.part.found.append((place, op, state))
            if self.findings.over:
                break
        self.findings.ops = self.part.transitions
        self.close()
        return self.part

    def _run(self, path: Path) -> bool:
        """Boot and go to a node, compared like everything else."""
        ops = [*self.small.start, *(self.small.ops[index] for index in path)]
        going = self.begin(self.small.world, thorough=True) and all(map(self.step, ops))
        self._note_rows()
        if not going and not self.findings.over:
            msg = f"world {self.small.name}: the system cannot go on after its first operations"
            self._fault(FaultError(msg, "ends at the start"))
        return going

    def _goto(self, path: Path) -> None:
        """Bring both sides to a node, which is known to agree."""
        ops = [*self.small.start, *(self.small.ops[index] for index in path)]
        for system in (self.lockstep.before, self.lockstep.after):
            if isinstance(system, Batch):
                system.send(ops, self.small.world)
                system.receive()
            else:
                system.boot(self.small.world)
                for op in ops:
                    system.apply(op)
            system.drain_effects()
            # Names that a system gives at first sight are now given on both sides alike.
            system.digest(self.lockstep.oracle.relation)
        self._world, self._ops = self.small.world, ops
        self._thorough = False
        self._check_invariants()

    def _branches(self) -> list[tuple[Outcome, bytes] | None]:
        """For each operation its outcome and the state that it leads to, where both sides say at
        once that they agree; None where it has to be looked at.
        """
        before, after = self.lockstep.before, self.lockstep.after
        oracle, ops = self.lockstep.oracle, self.small.ops
        if oracle.effects or not oracle.by_digest:
            return [None] * len(ops)
        if not isinstance(before, Branching) or not isinstance(after, Branching):
            return [None] * len(ops)
        pairs = zip(
            before.branches(ops, oracle.relation),
            after.branches(ops, oracle.relation),
            strict=True,
        )
        return [
            None
            if one is None or other is None or one[:2] != other[:2]
            else (one.outcome, _joint(one.key, other.key))
            for one, other in pairs
        ]

    def _successors(self) -> Iterator[tuple[int, bytes]]:
        before, after = self.lockstep.before, self.lockstep.after
        branches = self._branches()
        snapshots: tuple[object, object] | None = None
        here = len(self._ops)
        for index, (op, agreed) in enumerate(zip(self.small.ops, branches, strict=True)):
            self.part.transitions += 1
            if agreed is not None:
                self.saw(op, agreed[0])
                # What is refused never reached the code, so the state is the one before.
                if agreed[0].ending != "refused":
                    yield index, agreed[1]
                continue
            snapshots = snapshots or (before.snapshot(), after.snapshot())
            self.lockstep.index = here
            going = self.step(op)
            self._note_rows()
            if self.findings.over:
                return
            if self.outcome.ending != "refused":
                if going:
                    yield index, token(before, after)
                else:
                    self.part.ends += 1
                before.restore(snapshots[0])
                after.restore(snapshots[1])
            self._ops.pop()
            self.lockstep.dead = False

    def _note_rows(self) -> None:
        """Keep the first trace to each row of a predicate."""
        count = sum([len(rows) for table in self._tables for rows in table.values()])
        if count == self._rows_seen:
            return
        self._rows_seen = count
        for table in self._tables:
            for name, rows in table.items():
                for inputs in rows:
                    if (name, inputs) not in self.part.reached:
                        self.part.reached[name, inputs] = self.trace()


def token(before: System, after: System) -> bytes:
    """128 bits that stand for a joint state, the same in every process."""
    return _joint(before.state_key(), after.state_key())


def _joint(one: Hashable, other: Hashable) -> bytes:
    return blake2b(_flat(one) + b"/" + _flat(other), digest_size=TOKEN_BYTES).digest()


def _flat(key: Hashable) -> bytes:
    try:
        # Version 0 writes no references, so equal keys give equal bytes.
        return marshal.dumps(cast("Any", key), 0)
    except ValueError:
        return repr(key).encode()
