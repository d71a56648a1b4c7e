"""Small worlds over the C: a key that may stand for a state, and as many states as on the ports."""

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from random import Random

import pytest

from equivalence.backends.native.build import NativeImage
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.native.tree import KernelTree
from equivalence.backends.port_tier import PortTier
from equivalence.driver import Lockstep
from equivalence.explorer import (
    Bounds,
    Expander,
    Expansion,
    Exploration,
    Part,
    SmallWorld,
    explore,
)
from equivalence.oracle import oracle_for
from equivalence.subject import Branch, System
from equivalence.subjects.hugetlb.hosted import HostedSubject
from equivalence.subjects.hugetlb.series import HugetlbConventions, stable
from equivalence.subjects.hugetlb.worlds import NODES, WORLDS
from models.schema.trace import Op
from tests.backends.native import recipes, vma_series
from tests.backends.native.test_cli import equivcheck, mbox, result_of

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]
Maker = Callable[[dict[str, str]], KernelTree]
SMALL = tuple(small for small in WORLDS if small.name != "gigantic")


@pytest.fixture
def system(runner: Runner, image: NativeImage) -> NativeSystem:
    return NativeSystem(image, runner=runner)


def walk(system: NativeSystem, small: SmallWorld, rng: Random, steps: int) -> list[Op]:
    ops = [*small.start, *(rng.choice(small.ops) for _ in range(steps))]
    system.boot(small.world)
    for op in ops:
        system.apply(op)
    return ops


@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
def test_states_of_one_key_behave_alike_for_every_operation(
    small: SmallWorld, system: NativeSystem
) -> None:
    """However a state was come to: what an operation returns, and the key of the next state."""
    rng = Random(small.name)
    seen: dict[object, object] = {}
    met_again = 0
    for _ in range(60):
        walk(system, small, rng, 10)
        key = system.state_key()
        after = [
            # The word that a touch reads is history; whether it is read is not.
            one and (one.outcome._replace(value=None), one.key)
            for one in system.branches(small.ops, "state")
        ]
        assert system.state_key() == key
        met_again += key in seen
        assert seen.setdefault(key, after) == after
    assert met_again > 5


def test_branches_are_what_the_operations_come_to(system: NativeSystem) -> None:
    rng = Random(0)
    for small in (NODES, *SMALL[:2]):
        walk(system, small, rng, 6)
        branches = system.branches(small.ops, "state")
        kept = system.snapshot()
        for op, branch in zip(small.ops, branches, strict=True):
            outcome = system.apply(op)
            assert branch == Branch(outcome, system.digest("state"), system.state_key())
            system.restore(kept)


def test_a_world_is_explored_to_its_fixpoint_on_the_c(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    """By the public command: as many states and transitions as on the ports."""
    base = recipes.apply(sources, vma_series.BASE)
    series = mbox(base, vma_series.SERIES[:1], tmp_path / "series.mbox")
    done = equivcheck(
        *("explore", "nodes", "--tier", "native", "--tree", edited(base).root),
        *("--series", series, "--out", "report"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stdout + done.stderr
    pairs = result_of(tmp_path / "report")["pairs"]
    [pair] = [pair for pair in pairs if pair["against"] == "previous"]
    assert pair["counterexample"] is None
    [search] = [one for one in pair["evidence"]["searches"] if one["name"].endswith("nodes")]
    assert (pair["states"], search["ops"]) == (280, 3640)


class Here:
    """Expands nodes in this process."""

    def __init__(self, lockstep: Lockstep) -> None:
        self._lockstep = lockstep

    def map(self, jobs: Iterable[Expansion]) -> Generator[Part, None, None]:
        for job in jobs:
            yield Expander(HostedSubject(), self._lockstep, job.known).expand(job)


#: World -> states, transitions and depth on the port of 6.12.117, and on its C. They differ where
#: the port keeps the mappings of a file in the order in which they were made, and the C by offset.
COUNTS = {
    "tight": ((1516, 19708, 16), (1516, 19708, 16)),
    "min-size": ((1464, 16104, 18), (1064, 11704, 17)),
    "fork": ((1872, 16848, 16), (1872, 16848, 16)),
    "punch": ((1131, 12441, 15), (1131, 12441, 15)),
    "overcommit": ((1676, 18436, 14), (1676, 18436, 14)),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", COUNTS)
def test_the_c_has_as_many_states_as_the_port(name: str, image: NativeImage) -> None:
    [small] = [small for small in WORLDS if small.name == name]
    series = stable()
    last = len(series.patches)
    port = PortTier(series, HugetlbConventions(), {})
    hosted = NativeSystem(image), NativeSystem(image)
    pairs: list[tuple[System, System]] = [(port.system(last), port.system(last)), hosted]
    for (one, two), counts in zip(pairs, COUNTS[name], strict=True):
        lockstep = Lockstep(one, two, oracle_for(one, two, "state", frozenset()))
        found = Exploration(small)
        explore(Here(lockstep), (0, 0), found, Bounds())
        assert found.fixpoint
        assert (found.states, found.transitions, found.depth) == counts
    for system in hosted:
        system.close()
