"""What one step breaks by itself: a seeded search without store, examples and recordings.

    python -m tools.find_defects --series stable-6.12.y --step 10 --seed 0 --traces 400

Draws traces of 40 operations, notes every invariant that a state breaks and every ending from which
the kernel does not go on, and prints the minimal trace of each with the pool's counters after it.
A defect is told from another by what is broken and by the operation that breaks it; ``--only NAME``
leaves the others out.
The same arguments print the same text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final

from equivalence.backends.port import PortSystem
from equivalence.search import broken, defect_index, outcome_defects
from equivalence.shrink import Shrinker
from equivalence.subject import WorldError
from equivalence.subjects.hugetlb.series import BUILT_IN, HugetlbConventions
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import Trace, format_line

LENGTH: Final = 40
#: Traces that shrinking one defect may try.
LIMIT: Final = 2_000


def system_of(series: str, step: int) -> PortSystem:
    """A step of a built-in series, alone."""
    return PortSystem(BUILT_IN[series]().steps[step], HugetlbConventions())


def drawn(system: PortSystem, seed: int, traces: int) -> Iterator[tuple[str, Trace]]:
    """Each defect of each trace: its name, and the trace up to there."""
    subject = HugetlbSubject()
    for number in range(traces):
        rng = Random(f"{seed}/{number}")
        generator = subject.generator()
        world = generator.world(rng)
        generator.start(world)
        system.boot(world)
        trace = Trace(subject.name, world, ())
        seen: set[str] = set()
        for _ in range(LENGTH):
            op = generator.op(rng)
            trace = trace.with_ops((*trace.ops, op))
            outcome = system.apply(op)
            generator.saw(op, outcome)
            names = [name for name, _ in outcome_defects(outcome)]
            if not outcome.fatal:
                names += [name for name, _ in broken(system.observe(), subject)]
            for name in names:
                if name not in seen:
                    seen.add(name)
                    yield f"{name} after {op.kind}", trace
            if outcome.fatal:
                break


def shortest(found: Iterator[tuple[str, Trace]], only: str | None) -> Mapping[str, Trace]:
    """Of each defect the shortest trace that showed it."""
    best: dict[str, Trace] = {}
    for name, trace in found:
        if only is not None and name != only:
            continue
        if name not in best or len(trace.ops) < len(best[name].ops):
            best[name] = trace
    return best


def minimal(system: PortSystem, name: str, trace: Trace) -> Trace:
    """The smallest trace that shows the defect after the same kind of operation."""
    subject = HugetlbSubject()
    broke, _, kind = name.rpartition(" after ")

    def fails(candidate: Trace) -> int | None:
        try:
            index = defect_index(system, candidate, broke, subject)
        except WorldError:
            return None
        return index if index is not None and candidate.ops[index].kind == kind else None

    return Shrinker(trace, fails, subject.ops, subject.worlds, limit=LIMIT).run()


def counters(system: PortSystem, trace: Trace) -> tuple[str, dict[str, Any]]:
    """What the last operation of a trace came to, and the pool after it."""
    system.boot(trace.world)
    said = "boot"
    for op in trace.ops:
        outcome = system.apply(op)
        said = outcome.detail if outcome.fatal else outcome.errno or outcome.signal or "ok"
        if outcome.fatal:
            return said, {}
    return said, dict(system.observe()["pool"])


def main() -> None:
    """Print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--series", choices=sorted(BUILT_IN), default="stable-6.12.y")
    parser.add_argument("--step", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--traces", type=int, default=400)
    parser.add_argument("--only")
    given = parser.parse_args()
    system = system_of(given.series, given.step)
    found = shortest(drawn(system, given.seed, given.traces), given.only)
    for name in sorted(found):
        trace = minimal(system, name, found[name])
        said, pool = counters(system, trace)
        print(name)
        print(f"  {format_line('world', trace.world)}")
        for op in trace.ops:
            print(f"  {op}")
        print(f"  -> {said}; {pool}")


if __name__ == "__main__":
    main()
