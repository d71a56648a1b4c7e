"""The named small worlds: exact counts, and a state key that may stand for a state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Final

import pytest

from equivalence import gate
from equivalence.backends.memento import form
from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import PortTier
from equivalence.campaign import Config
from equivalence.explorer import Bounds, Exploration, SmallWorld, explore
from equivalence.jobs import Pool, Stop, Worker
from equivalence.subject import OpSpec
from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.series import HugetlbConventions, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from equivalence.subjects.hugetlb.worlds import GIGANTIC, NODES, WORLDS
from models.schema.result import Verdict
from models.schema.trace import Op, Trace

#: What two states of one key may differ in, and why it decides nothing.
LEFT_OUT: Final = frozenset(
    {
        # Names that the observation gives, and counters that only grow: renumbered in the key.
        "canon_next",
        "cgroups_seen",
        "subpools_seen",
        "op_number",
        "Folio.canon",
        "HugetlbCgroup.canon",
        "Subpool.canon",
        "Inode.i_ino",
        "SuperBlock.next_ino",
        # Words in pages: equality classes in the key, only ever compared for equality.
        "Folio.data",
        # Statistics that no code reads.
        "HugetlbCgroup.events",
        "HugetlbCgroup.events_local",
        "PageCounter.failcnt",
        "PageCounter.watermark",
        # The cursor of a policy: the key has it as long as the task has such a policy.
        "Task.il_prev",
        # Set anew before each operation.
        "Machine.fuel",
        # Locks of page tables are found or made by need; nobody holds one between operations.
        "MM.pmd_locks",
        # The key has every entry that is not empty.
        "MM.page_table",
    }
)
#: Frames are interchangeable where all pages have one size (the key has them otherwise).
FRAMES: Final = frozenset({"Folio.pfn", "Zone.free"})


def system() -> PortSystem:
    made = PortTier(vma_dependence(), HugetlbConventions(), {}).system(3, evidence=False)
    assert isinstance(made, PortSystem)
    return made


def heap(one: PortSystem, gigantic: bool) -> object:
    for h in one.namespace["hstates"]:
        for head in h.hugepage_freelists:
            for folio in one.namespace["entries_on"](head):
                folio.index = 0  # set anew when the page is used
    roots = {name: one.namespace[name] for name in sorted(one.step.data)}
    return form(roots, LEFT_OUT if gigantic else LEFT_OUT | FRAMES)


@pytest.mark.parametrize("small", WORLDS, ids=lambda small: small.name)
def test_states_of_one_key_have_the_same_heap(small: SmallWorld) -> None:
    one, rng = system(), Random(small.name)
    seen: dict[object, object] = {}
    met_again = 0
    for _ in range(60):
        one.boot(small.world)
        for op in small.start:
            one.apply(op)
        for _ in range(30):
            if one.apply(rng.choice(small.ops)).fatal:
                break
            key, shape = one.state_key(), heap(one, small is GIGANTIC)
            met_again += key in seen
            assert seen.setdefault(key, shape) == shape
    assert met_again > 100


@pytest.mark.parametrize("small", WORLDS[:3], ids=lambda small: small.name)
def test_states_of_one_key_behave_alike_for_every_operation(small: SmallWorld) -> None:
    one, rng = system(), Random(small.name)
    seen: dict[object, object] = {}
    for _ in range(30):
        one.boot(small.world)
        for op in small.start:
            one.apply(op)
        for _ in range(12):
            one.apply(rng.choice(small.ops))
        key, snapshot = one.state_key(), one.snapshot()
        after = []
        for op in small.ops:
            # The word that a touch reads is history; whether it is read is not.
            outcome = one.apply(op)._replace(value=None)
            after.append((outcome, one.state_key()))
            one.restore(snapshot)
            assert one.state_key() == key
        assert seen.setdefault(key, after) == after


def explored(small: SmallWorld, bounds: Bounds, jobs: int = 1) -> Exploration:
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    found = Exploration(small)
    with Pool(Worker(HugetlbSubject(), tier, "state", Stop()), jobs) as pool:
        explore(pool, (0, 3), found, bounds)
    return found


#: World -> states, transitions, depth, all of it to the fixpoint.
COUNTS: Final = {
    "tight": (1516, 19708, 16),
    "nodes": (280, 3640, 9),
    "min-size": (1464, 16104, 18),
    "size": (4021, 44231, 18),
    "fork": (2192, 19728, 15),
    "punch": (1131, 12441, 15),
    "overcommit": (1676, 18436, 14),
    "cgroup": (6072, 66792, 22),
    "gigantic": (1233, 12330, 20),
}


def counts(found: Exploration) -> tuple[int, int, int]:
    assert found.fixpoint
    return found.states, found.transitions, found.depth


def test_a_small_world_is_explored_to_its_fixpoint() -> None:
    assert counts(explored(NODES, Bounds())) == COUNTS["nodes"]


@pytest.mark.parametrize("small", WORLDS, ids=lambda small: small.name)
def test_every_world_agrees_in_its_first_levels(small: SmallWorld) -> None:
    found = explored(small, Bounds(depth=4))
    assert not found.findings.over
    assert found.findings.fault is None
    assert found.expanded > 1


@pytest.mark.nightly
@pytest.mark.parametrize("small", WORLDS, ids=lambda small: small.name)
def test_every_world_is_explored_to_its_fixpoint(small: SmallWorld) -> None:
    assert counts(explored(small, Bounds(), jobs=2)) == COUNTS[small.name]


class FewOps(HugetlbSubject):
    """Crippled: no operation but making and ending processes, and no traces to begin with."""

    ops: Mapping[str, OpSpec] = {kind: HugetlbSubject.ops[kind] for kind in ("spawn", "exit")}

    def generator(self) -> HugetlbGenerator:
        return HugetlbGenerator(tuple(self.ops))

    def examples(self) -> Iterable[Trace]:
        return ()


def test_a_search_without_its_operations_earns_no_verdict() -> None:
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    pair = gate.run(Config(ops=600, against="base"), FewOps(), tier).pairs[-1]
    assert pair.verdict is Verdict.INADEQUATE, pair.reason
    assert "goal 'mmap succeeds' was not reached" in pair.reason
    assert "changed code of alloc_hugetlb_folio did not run" in pair.reason


def test_a_world_that_is_too_roomy_earns_no_verdict() -> None:
    roomy = SmallWorld(
        "roomy",
        "nothing is ever short",
        {"nodes": 1, "nr_hugepages": 8},
        (Op("touch_write", {"proc": "A", "map": "m1", "page": 0}),),
        (
            Op("spawn", {"id": "A"}),
            Op("mmap", {"proc": "A", "map": "m1", "type": "private", "len": 1}),
        ),
    )
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    config = Config(ops=500, against="base", worlds=(roomy,))
    pair = gate.run(config, HugetlbSubject(), tier).pairs[-1]
    assert pair.verdict is Verdict.INADEQUATE
    assert "predicate 'dequeue refuses'" in pair.reason
    assert "were not reached" in pair.reason
