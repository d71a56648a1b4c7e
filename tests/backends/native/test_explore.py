"""Small worlds over the C: a key that may stand for a state, and as many states as on the ports."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from equivalence.backends.native.build import NativeImage
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.native.tree import KernelTree
from equivalence.explorer import SmallWorld
from equivalence.subject import Branch
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


#: World -> states and transitions: those of the ports.
COUNTS = {
    "nodes": (280, 3640),
    "overcommit": (1676, 18436),
    "tight": (1516, 19708),
}


def explored(name: str, sources: dict[str, str], edited: Maker, folder: Path) -> None:
    base = recipes.apply(sources, vma_series.BASE)
    series = mbox(base, vma_series.SERIES[:1], folder / "series.mbox")
    done = equivcheck(
        *("explore", name, "--tier", "native", "--tree", edited(base).root, "--series", series),
        *("--out", "report"),
        cwd=folder,
    )
    assert done.returncode in (0, 3), done.stdout + done.stderr
    result = result_of(folder / "report")
    [pair] = [pair for pair in result["pairs"] if pair["against"] == "previous"]
    assert pair["counterexample"] is None
    [search] = [one for one in pair["evidence"]["searches"] if one["name"].endswith(name)]
    assert (pair["states"], search["ops"]) == COUNTS[name]


def test_a_world_is_explored_to_its_fixpoint_on_the_c(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    explored("nodes", sources, edited, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in COUNTS if name != "nodes"])
def test_other_worlds_are_explored_to_their_fixpoints_on_the_c(
    name: str, sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    explored(name, sources, edited, tmp_path)
