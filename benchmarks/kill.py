"""``python -m benchmarks.kill``: how long it takes to find planted bugs, ours against plain tools.

Ours is what a run does (:func:`equivalence.campaign.search_pair`) in one process. Beside it stands
a plain Hypothesis ``RuleBasedStateMachine`` with default settings: one rule for each kind of
operation, each argument drawn from its legal values, outcomes and states compared after each. Both
have the same operations, ports and comparison, start cold (no kept trace, no example, no database)
and have the same processor time for each bug and each seed. When Hypothesis has run its examples it
begins again with another seed. A bug is killed by the first operation that shows a difference.

CrossHair's ``diffbehavior`` is asked about the conditions that the built-in series changes: beside
it, as it looks at single functions of integers and not at states.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from statistics import median
from typing import Any, Final

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from equivalence.campaign import Config, Replays, search_pair
from equivalence.cli.choose import choose
from equivalence.cli.errors import InputError
from equivalence.driver import Lockstep
from equivalence.events import PairName
from equivalence.jobs import Pool, Stop, Worker
from equivalence.oracle import oracle_for
from equivalence.subject import OpSpec, Predicate, Subject, Tier, WorldError
from models.schema.trace import Args, Op, Scalar

#: Series of one planted bug each, as ``equivcheck run --series`` takes them: one for each part of
#: the reservation logic.
PLANTED: Final = "tests.quality.planted"
BUGS: Final = (
    "region_add",
    "region_del",
    "subpool_get",
    "subpool_put",
    "dequeue",
    "alloc",
    "free",
    "reserve",
    "unreserve",
    "no_page",
    "wp",
    "unmap",
)
#: More operations than any time here allows.
UNBOUNDED: Final = 1_000_000_000


class _Ended(BaseException):
    """A difference was seen, or the time is up: nothing that Hypothesis may catch."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """One search for one bug: seconds of processor time, and whether it was found."""

    seconds: float
    killed: bool


Search = Callable[[Subject, Tier, int, float], Hunt]


class _Clock(Stop):
    """Says stop when the processor time is spent."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.process_time() + seconds

    def __bool__(self) -> bool:
        return super().__bool__() or time.process_time() > self._end


def ours(subject: Subject, tier: Tier, number: int, seconds: float) -> Hunt:
    """The searches of a run, from nothing, with seed ``number``."""
    stop = _Clock(seconds)
    worker = Worker(subject, tier, "state", stop)
    worker.lockstep(0, 1)
    config = Config(seed=number, ops=UNBOUNDED)
    name = PairName(0, 1, tier.patches[0].name, "previous")
    began = time.process_time()
    with Pool(worker, 1) as pool:
        found = search_pair(
            pool, config, name, Replays(), frozenset(), None, stop, lambda event: None
        )
    killed = found.findings.divergence is not None
    return Hunt(time.process_time() - began, killed)


def plain(subject: Subject, tier: Tier, number: int, seconds: float) -> Hunt:
    """A plain state machine, run with one seed after another."""
    one, other = tier.system(0, evidence=False), tier.system(1, evidence=False)
    lockstep = Lockstep(one, other, oracle_for(one, other, "state", subject.user_sections))
    began = time.process_time()
    over, killed = False, False

    def differs(divergence: object) -> None:
        nonlocal over, killed
        killed = divergence is not None
        over = killed or time.process_time() > began + seconds
        if over:
            raise _Ended

    machine = _machine(subject, lockstep, differs)
    seeds = Random(number)
    # What Hypothesis gives state machines, but for its database.
    chosen = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
    while not over:
        # To Hypothesis a trace that ends the hunt looks flaky.
        with suppress(_Ended, Flaky):
            run_state_machine_as_test(seed(seeds.getrandbits(32))(machine), settings=chosen)
    return Hunt(time.process_time() - began, killed)


def _machine(
    subject: Subject, lockstep: Lockstep, differs: Callable[[object], None]
) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        going = False

        @initialize(world=_args(subject.worlds, frozenset()))
        def boot(self, world: Args) -> None:
            try:
                subject.check_world(world)
            except WorldError:
                return
            differs(lockstep.boot(world))
            self.going = True

        def step(self, op: Op) -> None:
            if self.going:
                differs(lockstep.step(op))
                self.going = not lockstep.dead

    for kind, spec in subject.ops.items():
        setattr(Machine, f"op_{kind}", _rule(spec))
    return Machine


def _rule(spec: OpSpec) -> Any:
    def run(self: Any, args: Args) -> None:
        self.step(Op(spec.kind, args))

    run.__name__ = f"op_{spec.kind}"
    decorate: Callable[[Any], Any] = rule(args=_args(spec.domains, spec.required))
    return decorate(run)


def _args(
    domains: Mapping[str, Sequence[Scalar]], required: frozenset[str]
) -> st.SearchStrategy[Args]:
    drawn = {key: st.sampled_from(domain) for key, domain in domains.items()}
    return st.fixed_dictionaries(
        {key: strategy for key, strategy in drawn.items() if key in required},
        optional={key: strategy for key, strategy in drawn.items() if key not in required},
    )


def shown(found: Sequence[Hunt]) -> str:
    """The median time to kill of those that killed, and how many missed."""
    killed = [hunt.seconds for hunt in found if hunt.killed]
    missed = len(found) - len(killed)
    time_to_kill = f"{median(killed):7.2f} s" if killed else "        -"
    return f"{time_to_kill}  {missed} of {len(found)}" if missed else f"{time_to_kill}        "


def crosshair(predicates: Iterable[Predicate], seconds: float) -> list[str]:
    """What ``crosshair diffbehavior`` says of each pair of functions, and how long it took."""
    lines = []
    for predicate in predicates:
        names = [f"{f.__module__}.{f.__qualname__}" for f in (predicate.old, predicate.new)]
        command = ["diffbehavior", f"--per_condition_timeout={seconds:g}", *names]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "crosshair", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
        said = (done.stdout or done.stderr).strip().splitlines()
        lines.append(f"{predicate.name}: {said[-1].strip() if said else '?'} ({took:.1f} s)")
        lines += [f"    {line.strip()}" for line in said[:-1] if done.returncode == 1]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, hunt and print; 1 if plain Hypothesis misses fewer bugs than ours."""
    parser = argparse.ArgumentParser(prog="benchmarks.kill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of processor time, each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--series", action="append", help="of one bug; may be given again")
    known = parser.parse_args(arguments)
    if known.seconds <= 0 or known.seeds < 1:
        parser.error("--seconds must be above 0 and --seeds at least 1")
    names = known.series or [f"{PLANTED}:{name}" for name in BUGS]
    try:
        chosen = [choose(name) for name in names]
    except InputError as error:
        parser.error(str(error))
    print(
        f"processor time to kill, medians of {known.seeds} seeds; at most {known.seconds:g} s each"
    )
    print(f"{'bug':<16}{'ours':>10}  missed   {'Hypothesis alone':>18}  missed")
    everything: dict[Search, list[Hunt]] = {ours: [], plain: []}
    for name, one in zip(names, chosen, strict=True):
        cells = []
        for search, total in everything.items():
            found = [
                search(one.subject, one.tier, number, known.seconds)
                for number in range(known.seeds)
            ]
            total += found
            cells.append(shown(found))
        print(f"{name.rpartition(':')[2]:<16}{cells[0]:<22}    {cells[1]}", flush=True)
    print(f"{'all':<16}{shown(everything[ours]):<22}    {shown(everything[plain])}")
    if find_spec("crosshair") is None:
        print("\nCrossHair is not installed (pip install crosshair-tool)")
    else:
        print("\nCrossHair diffbehavior on the conditions that the built-in series changes:")
        changes = choose("vma-dependence").tier
        steps = range(1, len(changes.patches) + 1)
        predicates = {p.name: p for k in steps for p in changes.changes(k - 1, k).predicates}
        print("\n".join(crosshair(predicates.values(), known.seconds)))
    missed = {
        search: sum(not hunt.killed for hunt in found) for search, found in everything.items()
    }
    return 0 if missed[ours] <= missed[plain] else 1


if __name__ == "__main__":
    sys.exit(main())
