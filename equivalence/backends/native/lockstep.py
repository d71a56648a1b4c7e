"""Two images on the same traces: the first operation whose outcome or state differs.

Both run whole traces and write one record for each operation; equal records are compared as bytes,
and only a pair of records that differs is looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from equivalence.backends.native.encode import Encoder
from equivalence.backends.native.system import (
    Runner,
    Step,
    returned,
    run_traces,
    schedule_of,
    world_of,
)
from equivalence.backends.native.worker import SECTIONS, Job, RawTrace, Worker
from models.schema.trace import Trace


@dataclass(frozen=True, slots=True)
class Difference:
    """The first disagreement of a trace.

    ``op`` counts from 1 (0: the worlds differ after booting); ``sections`` name what differs,
    ``outcome`` first if the outcomes do.
    """

    trace: int
    op: int
    sections: tuple[str, ...]


def compare(
    before: Runner,
    after: Runner,
    traces: Sequence[Trace],
    *,
    sections: frozenset[str] = frozenset(SECTIONS) - {"effects"},
    digest: bool = True,
    seconds: float = 5.0,
) -> list[Difference]:
    """Run the traces on both and return the first difference of each trace that has one.

    With ``digest`` false only outcomes are compared.

    Raises:
        WorldError, TraceError, WorkerError: as ``run_traces``.
    """
    found: list[Difference] = []
    groups: dict[tuple[int, bool], list[tuple[int, Job]]] = {}
    for number, trace in enumerate(traces):
        world = world_of(trace.world)
        job = Job(
            Encoder().encode_all(trace.ops),
            world.numbers,
            digest=digest,
            seconds=seconds,
            schedule=schedule_of(trace),
        )
        groups.setdefault((world.nodes, world.giant), []).append((number, job))
    for (number, _), group in zip(groups, groups.values(), strict=True):
        del number
        world = world_of(traces[group[0][0]].world)
        one, two = before.worker(world), after.worker(world)
        jobs = [job for _, job in group]
        for (index, _), left, right in zip(group, *_both(one, two, jobs), strict=True):
            # a reason found after the last operation of both is not lost: fatals are compared too
            if left.blob == right.blob and _same_end(left, right):
                continue
            difference = _first(index, traces[index], one, two, group, sections)
            if difference is not None:
                found.append(difference)
    return sorted(found, key=lambda one: one.trace)


def _both(one: Worker, two: Worker, jobs: Sequence[Job]) -> tuple[list[RawTrace], list[RawTrace]]:
    """Both sides' results; the workers run at the same time, unless they are one."""
    if one is two:
        return one.run(jobs, decode=False), two.run(jobs, decode=False)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(two.run, jobs, decode=False)
        mine = one.run(jobs, decode=False)
        return mine, other.result()


def _same_end(left: RawTrace, right: RawTrace) -> bool:
    one, two = left.fatal, right.fatal
    if one is None or two is None:
        return one is two
    return (one.op, one.ending, one.text) == (two.op, two.ending, two.text)


def _first(
    index: int,
    trace: Trace,
    one: Worker,
    two: Worker,
    group: Sequence[tuple[int, Job]],
    sections: frozenset[str],
) -> Difference | None:
    """Look into the records of one trace that differ somewhere."""
    job = next(job for number, job in group if number == index)
    left, right = one.run([job])[0], two.run([job])[0]
    for number in range(max(len(left.results), len(right.results))):
        if number >= len(left.results) or number >= len(right.results):
            return Difference(index, number, ("outcome",))
        a, b = left.results[number], right.results[number]
        names: list[str] = []
        ends = [
            (raw.fatal.ending, raw.fatal.text)
            if raw.fatal is not None and raw.fatal.op == number
            else None
            for raw in (left, right)
        ]
        if ends[0] != ends[1] or returned(a) != returned(b):
            names.append("outcome")
        if ends[0] is None and ends[1] is None:
            names += [
                name
                for name, x, y in zip(SECTIONS, a.digest, b.digest, strict=True)
                if x != y and name in sections
            ]
        if names:
            return Difference(index, number, tuple(names))
    return None


def explain(
    before: Runner, after: Runner, trace: Trace, difference: Difference
) -> tuple[Step, Step]:
    """Both sides' outcome and observation at the operation of a difference."""
    cut = trace.with_ops(trace.ops[: difference.op])
    left = run_traces(before, [cut], observe=True)[0]
    right = run_traces(after, [cut], observe=True)[0]
    return left[-1], right[-1]
