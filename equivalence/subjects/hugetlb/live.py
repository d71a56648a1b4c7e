"""Calibration against a running kernel: generator, kernel and port in lockstep.

Operations are drawn against the kernel's answers, run on the kernel in QEMU and on a system, and
compared like a recording's lines. At the first difference the trace is made minimal, each try on
both, and what the kernel said to the minimal trace is a recording that shows the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Final

from equivalence.shrink import Shrinker
from equivalence.subjects.hugetlb import recorder
from equivalence.subjects.hugetlb.calibration import Calibration, Disagreement, Replayer, Session
from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.likeness import LikeRecordings, by_profile
from equivalence.subjects.hugetlb.ops import OPS
from equivalence.subjects.hugetlb.recording import (
    REFUSED_OP,
    Json,
    Recording,
    recorded_args,
    recorded_world,
)
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Scalar, Trace

#: Operations of one trace; a trace that leaves the kernel unclean costs a boot.
LENGTH: Final = 40
#: Traces that shrinking may try on the kernel.
SHRINK_RUNS: Final = 300
#: And how long, in seconds: a trace that leaves the kernel unclean costs a boot.
SHRINK_SECONDS: Final = 240.0
#: Arguments, and words of an argument, that the recorder has no request for.
_LEFT_OUT: Final = frozenset({"size", "pagesize", "size_percent", "min_size_percent", "nr_inodes"})
_NOT_FOR: Final[Mapping[str, frozenset[str]]] = {
    "mount": _LEFT_OUT - {"size"},
    "mmap": _LEFT_OUT,
}
#: So many operations have one place or length that fits nothing.
_ODD_SHARE: Final = 0.04
_ODD: Final = (0, 0, 1, 2, 3, 5, 8, 16)
_PLACES: Final = frozenset({"start", "len", "new_len", "off", "page", "size", "min_size", "value"})
WORLDS: Final[Mapping[str, Sequence[Scalar]]] = {
    "nr_hugepages": tuple(range(8)),
    "nr_overcommit_hugepages": tuple(range(5)),
}


class Drawn:
    """Operations of one seed that the recorder can make, each after the answer to the last.

    Every second trace is drawn like the recordings of one profile.
    """

    def __init__(self, seed: int, number: int) -> None:
        self._rng = Random(f"{seed}/{number}")
        #: How many operations the trace is meant to have.
        self.length = LENGTH
        self._generator = _generator()
        if number % 2:
            profiles = tuple(by_profile(corpus()).values())
            like = LikeRecordings(profiles[int(self._rng.random() * len(profiles))])
            self._generator, self.length = like, like.length(self._rng)
        drawn = self._generator.world(self._rng)
        self.world: Args = {key: drawn[key] for key in WORLDS}
        self._generator.start(self.world)

    def op(self) -> Op:
        """The next operation."""
        op = self._generator.op(self._rng)
        left_out = _NOT_FOR.get(op.kind, _LEFT_OUT)
        args = {key: value for key, value in op.args.items() if key not in left_out}
        places = sorted(key for key in args if key in _PLACES and isinstance(args[key], int))
        if places and self._rng.random() < _ODD_SHARE:
            args[places[int(self._rng.random() * len(places))]] = self._rng.choice(_ODD)
        return Op(op.kind, args)

    def saw(self, op: Op, line: Json | None) -> None:
        """What the kernel answered; None if it was not asked."""
        ret = -1 if line is None else int(line["result"]["ret"])
        self._generator.saw(op, Outcome(ret, None if ret == 0 else "EINVAL"))


def _generator() -> HugetlbGenerator:
    kinds = set(recorder.operations())
    return HugetlbGenerator([kind for kind in OPS if kind in kinds])


@dataclass(slots=True)
class Found:
    """A difference between kernel and system, its minimal trace, and what the kernel said to it."""

    first: Disagreement
    trace: Trace
    recording: Recording
    #: Traces that were run to make it minimal.
    runs: int


@dataclass(slots=True)
class Live:
    """What a live calibration came to."""

    compared: Calibration = field(default_factory=Calibration)
    found: Found | None = None
    #: Why traces were ended before their length: what the system came to, and how often.
    ended: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    @property
    def operations(self) -> int:
        """Operations that the kernel ran and that were compared."""
        return sum(
            count
            for (_, kind), count in self.compared.operations.items()
            if kind not in ("boot", "tail")
        )


class LiveCalibration:
    """Kernel and system in lockstep; ``watch`` is told after each trace."""

    def __init__(
        self,
        kernel: recorder.LiveKernel,
        system: Replayer,
        watch: Callable[[Live], None] = lambda _: None,
    ) -> None:
        self._kernel = kernel
        self._system = system
        self._watch = watch

    def run(self, ops: int, seed: int) -> Live:
        """Draw traces until ``ops`` operations agreed or one differs.

        Raises:
            RecorderError: as the recorder's.
        """
        live = Live()
        number = 0
        while live.operations < ops and live.found is None:
            drawn = Drawn(seed, number)
            name = f"live{seed}_{number:04d}"
            most = min(drawn.length, ops - live.operations)
            done: list[Op] = []

            def source(drawn: Drawn = drawn, most: int = most) -> Iterator[Op]:
                for _ in range(most):
                    yield drawn.op()

            before = len(live.compared.disagreements)
            self._lockstep(Trace("hugetlb", drawn.world, ()), source(), live, name, drawn.saw, done)
            if len(live.compared.disagreements) > before:
                first = live.compared.disagreements[before]
                live.found = self._shrunk(
                    Trace("hugetlb", drawn.world, tuple(done)), first, name, seed
                )
            number += 1
            self._watch(live)
        return live

    def _lockstep(
        self,
        trace: Trace,
        ops: Iterator[Op],
        live: Live,
        name: str,
        saw: Callable[[Op, Json | None], None] = lambda _op, _line: None,
        done: list[Op] | None = None,
    ) -> None:
        """Run one trace on both until they differ, one cannot go on, or it ends."""
        session = Session(self._system, name, "live", live.compared)
        agreed = session.begin(_full(trace.world), self._kernel.begin_trace(trace.world))
        number = 0
        try:
            while agreed and (op := next(ops, None)) is not None:
                if done is not None:
                    done.append(op)
                number += 1
                if self._kernel.refuses(op.kind, recorded_args(op)):
                    with suppress(recorder.OperationRefusedError):
                        self._kernel.apply(op.kind, recorded_args(op))
                    self._system.apply(REFUSED_OP)
                    live.refused += 1
                    saw(op, None)
                    continue
                outcome = self._system.apply(op)
                if outcome.fatal:
                    # A kernel without debug checks goes on at a VM_BUG_ON, and one that hangs
                    # costs a minute: such an end is told, not compared.
                    live.ended[f"{op.kind}: {outcome.ending}: {outcome.detail}"] += 1
                    return
                line = self._kernel.apply(op.kind, recorded_args(op))
                agreed = session.compare(number, op.kind, line, outcome)
                saw(op, line)
            if agreed:
                session.end(number, self._kernel.end_trace())
        finally:
            if self._kernel.tracing:
                self._end_trace()

    def _end_trace(self) -> None:
        """Leave a trace whose end is not compared; what cannot be cleaned up is booted anew."""
        try:
            self._kernel.end_trace()
        except recorder.RecorderError:
            self._kernel.close()

    def _shrunk(self, trace: Trace, first: Disagreement, name: str, seed: int) -> Found:
        """The minimal trace with the same difference, and its recording."""
        wanted = _kind_of(first)

        def fails(candidate: Trace) -> int | None:
            live = Live()
            try:
                self._lockstep(candidate, iter(candidate.ops), live, name)
            except recorder.GuestDiedError:
                return None
            if not live.compared.disagreements:
                return None
            found = live.compared.disagreements[0]
            if _kind_of(found) != wanted:
                return None
            if found.op == "tail":
                return len(candidate.ops) - 1
            return found.number - 1

        end = monotonic() + SHRINK_SECONDS
        shrinker = Shrinker(
            trace, fails, OPS, WORLDS, limit=SHRINK_RUNS, stop=lambda: monotonic() > end
        )
        small = shrinker.run()
        lines = recorder.record_trace(
            self._kernel,
            f"{name}_differs",
            "random",
            f"differed from the port in {first.field}",
            seed,
            small.world,
            ((op.kind, recorded_args(op)) for op in small.ops),
            skip_refused=True,
        )
        return Found(
            first, small, Recording(lines[0], tuple(lines[1:-1]), lines[-1]), shrinker.runs
        )


def _full(world: Args) -> Args:
    """The world as the recorder makes it, for a system."""
    return Recording({"world": recorded_world(world)}, (), {}).world


def _kind_of(one: Disagreement) -> tuple[str, str]:
    """What stays the same of a difference while its trace becomes smaller."""
    words = one.field.split(".")
    if words[0] in ("mounts", "cgroups", "procs") and len(words) > 1:
        del words[1]
    if words[:1] == ["procs"] and len(words) > 2:
        del words[2:]
    return one.op, ".".join(words)
