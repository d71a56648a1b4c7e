"""``python -m benchmarks.native --tree DIR``: what comparing costs on C, and how much faster C is.

Times are those of the clock, since most of the work is done by other processes: nothing else should
run on the machine. Both tiers run the same traces, which neither draws while it is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from equivalence.backends.native.build import build
from equivalence.backends.native.errors import NativeError
from equivalence.backends.native.lockstep import compare
from equivalence.backends.native.system import Runner
from equivalence.cli.choose import load_series, port_tier
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.subjects.hugetlb.series import STABLE
from equivalence.subjects.hugetlb.sides import SidesSubject
from models.schema.outcome import OK
from models.schema.trace import Op, Trace

LENGTH: Final = 300
HANG_SECONDS: Final = 0.25
#: At least so much of the rate without comparison, and so many times the port's rate.
LEAST_SHARE: Final = 0.5
LEAST_TIMES: Final = 50.0


def drawn(count: int) -> list[Trace]:
    """Traces of :data:`LENGTH` operations; outcomes are guessed to be successes."""
    rng, generator = Random(0), SidesSubject().generator()
    traces = []
    for _ in range(count):
        world = generator.world(rng)
        generator.start(world)
        ops: list[Op] = []
        for _ in range(LENGTH):
            ops.append(generator.op(rng))
            generator.saw(ops[-1], OK)
        traces.append(Trace("hugetlb", world, tuple(ops)))
    return traces


def seconds(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def port_pass(traces: Sequence[Trace]) -> Callable[[], object]:
    """Lockstep of two ports on the traces."""
    series = load_series(STABLE)
    tier, last = port_tier(series), series.steps[-1].number
    one, other = (tier.system(last, evidence=False) for _ in range(2))
    lockstep = Lockstep(one, other, oracle_for(one, other, "state", frozenset()))
    return lambda: [lockstep.run(trace) for trace in traces]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a ratio is under its limit, 2 for a tree that cannot be built."""
    parser = argparse.ArgumentParser(prog="benchmarks.native", description=__doc__)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--traces", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    known = parser.parse_args(arguments)
    try:
        image = build(known.tree)
    except NativeError as error:
        print(f"benchmarks.native: {error}", file=sys.stderr)
        return 2
    traces = drawn(known.traces)
    few = traces[: max(1, known.traces // 20)]
    one, other = Runner(image), Runner(image)

    def native(some: Sequence[Trace], *, digest: bool = True) -> float:
        return seconds(
            lambda: compare(one, other, some, digest=digest, seconds=HANG_SECONDS)
        ) / len(some)

    port = port_pass(few)
    native(traces)
    port()
    shares, times = [], []
    for _ in range(known.rounds):
        shares.append(native(traces, digest=False) / native(traces))
        times.append(seconds(port) / len(few) / native(few))
    one.close()
    other.close()
    share, factor = median(shares), median(times)
    print(f"{share:6.2f}  {LEAST_SHARE:6.2f}  rate with comparison / without, on C")
    print(f"{factor:6.1f}  {LEAST_TIMES:6.1f}  rate on C / rate on the port, both compared")
    return 0 if share >= LEAST_SHARE and factor >= LEAST_TIMES else 1


if __name__ == "__main__":
    sys.exit(main())
