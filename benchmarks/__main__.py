"""`make bench`: measure, print, and exit with 1 if a ratio is over its limit."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks import checks, where
from benchmarks.measure import Check, Speed
from equivalence.cli.choose import DEFAULT_SERIES, Chosen, choose
from equivalence.cli.errors import InputError


def measured(chosen: Chosen, ops: int, rounds: int) -> Iterator[Check]:
    """All checks, in order."""
    subject, tier = chosen.subject, chosen.tier
    yield checks.comparison(subject, tier, ops, rounds)
    yield checks.sampler(subject, tier, ops, rounds)
    yield checks.growth_in_trace(subject, tier, 2 * ops, rounds)
    yield from checks.growth_in_run(subject, tier, 8 * ops, 8)


def profiled(chosen: Chosen, ops: int) -> Iterator[tuple[Speed, dict[str, float]]]:
    """Each search's speed, and where its time goes."""
    for name, work in where.searches(chosen.subject, chosen.tier, ops):
        began = time.process_time()
        shares = where.shares(work)
        yield Speed(name, ops, time.process_time() - began), shares


def main(arguments: Sequence[str] | None = None, choose: Callable[[str], Chosen] = choose) -> int:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--series", default=DEFAULT_SERIES)
    parser.add_argument("--ops", type=int, default=2000, help="operations of one round")
    parser.add_argument("--rounds", type=int, default=7)
    known = parser.parse_args(arguments)
    if known.ops < 100 or known.rounds < 1:
        parser.error("--ops must be at least 100 and --rounds at least 1")
    try:
        chosen = choose(known.series)
    except InputError as error:
        parser.error(str(error))
    print(f"{chosen.tier.series} on tier {chosen.tier.name}, times are processor times\n")
    print(f"{'ratio':>6}  {'limit':>6}  what is measured")
    good = True
    for check in measured(chosen, known.ops, known.rounds):
        good &= check.holds
        said = "" if check.holds else "  OVER THE LIMIT"
        print(f"{check.ratio:6.2f}  {check.limit:6.2f}  {check.name}{said}")
        print(f"{'':16}{check.detail}", flush=True)
    for speed, shares in profiled(chosen, 4 * known.ops):
        print(f"\n{speed.name}: {speed.ops_per_s:,.0f} ops/s; where the time goes:")
        for name, share in shares.items():
            print(f"{share:6.1%}  {name}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
