"""What `make bench` checks: one function for each sentence about speed that the product makes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import Final

from benchmarks.measure import Check, paired_s, resident_bytes
from benchmarks.traces import drawn, leaving, lockstep_of, long_trace
from equivalence.driver import Lockstep
from equivalence.sampler import sample
from equivalence.search import Session
from equivalence.subject import Subject, Tier
from models.schema.divergence import Divergence
from models.schema.trace import Op, Trace

COMPARISON_LIMIT: Final = 1.5
SAMPLER_LIMIT: Final = 0.25
GROWTH_LIMIT: Final = 1.25
MEMORY_LIMIT: Final = 1.10


def comparison(subject: Subject, tier: Tier, ops: int, rounds: int) -> Check:
    """Lockstep under ``state`` against the same operations without comparing anything."""
    lockstep = lockstep_of(subject, tier)
    traces = drawn(subject, lockstep.before, ops)
    full, bare, ratio = paired_s(
        lambda: compared(lockstep, traces), lambda: uncompared(lockstep, traces), rounds
    )
    count = sum(len(trace.ops) for trace in traces)
    detail = f"{count / full:,.0f} against {count / bare:,.0f} ops/s"
    return Check("lockstep with comparison / without", ratio, COMPARISON_LIMIT, detail)


def compared(lockstep: Lockstep, traces: Sequence[Trace]) -> None:
    """Run traces as every search and replay does."""
    for trace in traces:
        divergence = lockstep.run(trace)
        assert divergence is None, "a series that diverges is nothing to measure with"


class _Blind(Lockstep):
    """Runs both sides and looks at nothing but fatal endings."""

    def _compare_state(self, op: Op, index: int) -> Divergence | None:
        return None


def uncompared(lockstep: Lockstep, traces: Sequence[Trace]) -> None:
    """Run the same operations on the same two systems, without comparison and digests."""
    compared(_Blind(lockstep.before, lockstep.after, lockstep.oracle), traces)


class _Recording(Session):
    """A session that keeps the traces it has run."""

    def __init__(self, subject: Subject, lockstep: Lockstep, traces: list[Trace]) -> None:
        super().__init__(subject, lockstep)
        self._traces = traces

    def end(self) -> None:
        """Keep the trace."""
        super().end()
        self._traces.append(self.trace())


def sampler(subject: Subject, tier: Tier, ops: int, rounds: int) -> Check:
    """What drawing and bookkeeping add to running the same operations in lockstep."""
    lockstep = lockstep_of(subject, tier)
    traces: list[Trace] = []
    sample(_Recording(subject, lockstep, traces), subject.generator(), Random(0), ops)

    def search() -> None:
        sample(Session(subject, lockstep), subject.generator(), Random(0), ops)

    whole, running, ratio = paired_s(search, lambda: compared(lockstep, traces), rounds)
    detail = f"{ops / whole:,.0f} ops/s sampled, {ops / running:,.0f} ops/s replayed"
    return Check("sampler's own cost / running the ops", ratio - 1.0, SAMPLER_LIMIT, detail)


#: A long trace is made of so many blocks that do the same.
BLOCKS = 12


def growth_in_trace(subject: Subject, tier: Tier, ops: int, rounds: int) -> Check:
    """The last blocks of one long trace against its first ones, all of which do the same.

    Each block lets go of all that it made: what is measured is the length of the trace, and not how
    much there is to look at, which goes up and down along any drawn trace.
    """
    lockstep = lockstep_of(subject, tier)
    drawn_ops = long_trace(subject, lockstep.before, ops // BLOCKS, Random(1))
    block = [*drawn_ops.ops, *leaving(subject)]
    early, late = [], []
    for _ in range(rounds + 1):
        lockstep.boot(drawn_ops.world)
        times = []
        for _ in range(BLOCKS):
            began = time.process_time()
            for op in block:
                lockstep.step(op)
            times.append(time.process_time() - began)
        third = BLOCKS // 3
        # The very first block finds nothing that others left behind.
        early.append(median(times[1 : third + 1]))
        late.append(median(times[-third:]))
    # Of one pass at a time: what else the machine does changes from one to the next.
    ratio = median(one / other for one, other in zip(late, early, strict=True))
    rates = [len(block) / median(times) for times in (early, late)]
    detail = f"{rates[0]:,.0f} ops/s early, {rates[1]:,.0f} late, {ops:,} ops long"
    return Check("an op late in a trace / early", ratio, GROWTH_LIMIT, detail)


def growth_in_run(subject: Subject, tier: Tier, ops: int, rounds: int) -> tuple[Check, Check]:
    """The last part of a long search against its first part: time of an operation, and memory."""
    lockstep = lockstep_of(subject, tier)
    session = Session(subject, lockstep)
    generator = subject.generator()
    parts = max(2, rounds)
    times, memory = [], []
    for part in range(parts):
        began = time.process_time()
        # The same traces in every part, but a search that remembers more and more.
        sample(session, generator, Random(part % 2), session.findings.ops + ops // parts)
        times.append(time.process_time() - began)
        memory.append(resident_bytes())
    # The least of several: what disturbs a measurement only makes it longer.
    half = parts // 2
    one, other = min(times[half:]), min(times[:half])
    detail = f"{ops:,} ops in {parts} parts, {ops / sum(times):,.0f} ops/s"
    cost = Check("an op late in a run / early", one / other, GROWTH_LIMIT, detail)
    grown = memory[-1] / memory[0]
    detail = (
        f"{memory[0] / 2**20:.0f} MiB after the first part, {memory[-1] / 2**20:.0f} at the end"
    )
    return cost, Check("memory at the end of a run / early", grown, MEMORY_LIMIT, detail)
