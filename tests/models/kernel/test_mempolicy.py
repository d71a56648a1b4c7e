"""Memory policies, against mm/mempolicy.c."""

from __future__ import annotations

from typing import Any

import pytest

from models.kernel.errno import EFAULT, EINVAL, EOPNOTSUPP
from models.kernel.gfp import _GFP_THISNODE
from models.kernel.machine import Unmodelled
from models.kernel.mempolicy import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    MPOL_INTERLEAVE,
    MPOL_LOCAL,
    MPOL_MF_STRICT,
    MPOL_PREFERRED,
    MPOL_PREFERRED_MANY,
    MPOL_WEIGHTED_INTERLEAVE,
    NO_INTERLEAVE_INDEX,
)
from models.kernel.structs import VM_HUGETLB, File, Inode, SuperBlock, VmArea
from tests.models.linked import Kernel

HUGE = 1 << 21
ALL = (MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED_MANY, MPOL_WEIGHTED_INTERLEAVE)


@pytest.fixture
def k() -> Kernel:
    return Kernel(nodes=3)


def vma(k: Kernel, start: int = 0, pages: int = 8, pgoff: int = 0) -> VmArea:
    """A mapping of huge pages without reservations."""
    area = VmArea(k.task.mm, start * HUGE, (start + pages) * HUGE, VM_HUGETLB)
    area.vm_pgoff = pgoff << 9
    area.vm_file = File(Inode(1, SuperBlock("h0", k.h)))
    area.vm_ops = k.hugetlb_vm_ops
    area.vm_file.f_mapping.i_mmap.append(area)
    k.task.mm.vmas.append(area)
    return area


def places(k: Kernel, area: VmArea) -> list[int]:
    """Where huge_node() would like the pages of a mapping."""
    return [k.huge_node(area, a, 0)[0] for a in range(area.vm_start, area.vm_end, HUGE)]


def test_without_a_policy_the_local_node_is_preferred(k: Kernel) -> None:
    area = vma(k)
    assert k.huge_node(area, 0, 0) == (0, k.preferred_node_policy[0], None)
    k.sched_setaffinity(2)
    assert k.huge_node(area, 0, 0) == (2, k.preferred_node_policy[2], None)


@pytest.mark.parametrize(
    ("mode", "nid", "mask"),
    [
        (MPOL_PREFERRED, 1, None),
        (MPOL_PREFERRED_MANY, 0, 0b110),
        (MPOL_BIND, 0, 0b110),
        (MPOL_INTERLEAVE, 1, None),
        (MPOL_WEIGHTED_INTERLEAVE, 1, None),
    ],
)
def test_what_each_policy_asks_for(k: Kernel, mode: int, nid: int, mask: int | None) -> None:
    assert k.kernel_set_mempolicy(mode, 0b110) == 0
    assert k.huge_node(vma(k), 0, 0) == (nid, k.task.mempolicy, mask)
    assert k.init_nodemask_of_mempolicy() == (0b010 if mode == MPOL_PREFERRED else 0b110)


def test_local_prefers_the_node_of_the_moment(k: Kernel) -> None:
    assert k.kernel_set_mempolicy(MPOL_PREFERRED, 0) == 0
    assert k.task.mempolicy is not None
    assert k.task.mempolicy.mode == MPOL_LOCAL
    k.sched_setaffinity(1)
    assert k.huge_node(vma(k), 0, 0)[0] == 1
    assert k.init_nodemask_of_mempolicy() == 0b010


def test_interleaving_goes_by_offset_in_the_file(k: Kernel) -> None:
    k.kernel_set_mempolicy(MPOL_INTERLEAVE, 0b101)
    assert places(k, vma(k, pages=4)) == [0, 2, 0, 2]
    assert places(k, vma(k, start=100, pages=4, pgoff=3)) == [2, 0, 2, 0]


def test_weighted_interleaving_takes_more_from_heavier_nodes(k: Kernel) -> None:
    k.kernel_set_mempolicy(MPOL_WEIGHTED_INTERLEAVE, 0b111)
    assert places(k, vma(k, pages=4)) == [0, 1, 2, 0]
    assert k.iw_node_store(0, 2) == 0
    assert k.iw_node_store(2, 3) == 0
    assert places(k, vma(k, start=100)) == [0, 0, 1, 2, 2, 2, 0, 0]
    assert k.iw_node_store(0, 256) == k.iw_node_store(3, 1) == -EINVAL


def test_interleaving_without_an_offset_goes_by_task(k: Kernel) -> None:
    k.kernel_set_mempolicy(MPOL_INTERLEAVE, 0b110)
    pol = k.task.mempolicy
    nids = [k.policy_nodemask(0, pol, NO_INTERLEAVE_INDEX, 0)[1] for _ in range(3)]
    assert nids == [1, 2, 1]
    k.iw_node_store(1, 2)
    k.kernel_set_mempolicy(MPOL_WEIGHTED_INTERLEAVE, 0b110)
    pol = k.task.mempolicy
    nids = [k.policy_nodemask(0, pol, NO_INTERLEAVE_INDEX, 0)[1] for _ in range(4)]
    assert nids == [1, 1, 2, 1]


def test_the_policy_of_a_mapping_wins(k: Kernel) -> None:
    area = vma(k, pages=4)
    k.kernel_set_mempolicy(MPOL_BIND, 0b001)
    assert k.kernel_mbind(0, 4 * HUGE, MPOL_PREFERRED, 0b100, 0) == 0
    assert k.huge_node(area, 0, 0)[::2] == (2, None)
    assert area.vm_policy is not None
    assert area.vm_policy.refcnt == 1


def test_mbind_of_a_part_splits(k: Kernel) -> None:
    area = vma(k, pages=6)
    assert k.kernel_mbind(2 * HUGE, 2 * HUGE, MPOL_BIND, 0b010, 0) == 0
    vmas = sorted(k.task.mm.vmas, key=lambda v: v.vm_start)
    assert [(v.vm_start // HUGE, v.vm_end // HUGE) for v in vmas] == [(0, 2), (2, 4), (4, 6)]
    assert [v.vm_policy.nodes if v.vm_policy else None for v in vmas] == [None, 0b010, None]
    assert vmas[1] is area
    # The same policy again changes nothing, and does not split.
    assert k.kernel_mbind(3 * HUGE, HUGE, MPOL_BIND, 0b010, 0) == 0
    assert len(k.task.mm.vmas) == 3


def test_mbind_over_a_hole(k: Kernel) -> None:
    vma(k, pages=2)
    vma(k, start=4, pages=2)
    for start, length in ((0, 6), (2, 4), (4, 4), (6, 2)):
        assert k.kernel_mbind(start * HUGE, length * HUGE, MPOL_BIND, 1, 0) == -EFAULT
    assert [v.vm_policy for v in k.task.mm.vmas] == [None, None]
    # Back to the default may leave holes, but must meet something.
    assert k.kernel_mbind(0, 6 * HUGE, MPOL_DEFAULT, 0, 0) == 0
    assert k.kernel_mbind(6 * HUGE, HUGE, MPOL_DEFAULT, 0, 0) == -EFAULT


@pytest.mark.parametrize(
    ("mode", "nodes"),
    [
        (MPOL_DEFAULT, 1),
        (MPOL_BIND, 0),
        (MPOL_INTERLEAVE, 0),
        (MPOL_WEIGHTED_INTERLEAVE, 0b1000),
        (MPOL_PREFERRED_MANY, 0),
        (MPOL_PREFERRED, 0b1000),
        (MPOL_PREFERRED | MPOL_F_STATIC_NODES, 0),
        (MPOL_LOCAL, 1),
        (MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, 1),
        (7, 1),
    ],
)
def test_bad_policies_change_nothing(k: Kernel, mode: int, nodes: int) -> None:
    k.kernel_set_mempolicy(MPOL_BIND, 0b001)
    before = k.task.mempolicy
    assert k.kernel_set_mempolicy(mode, nodes) == -EINVAL
    vma(k)
    assert k.kernel_mbind(0, HUGE, mode, nodes, 0) == -EINVAL
    assert k.task.mempolicy is before
    assert len(k.task.mm.vmas) == 1


def test_mbind_checks_its_range(k: Kernel) -> None:
    vma(k)
    assert k.kernel_mbind(1, HUGE, MPOL_BIND, 1, 0) == -EINVAL
    assert k.kernel_mbind(0, 0, MPOL_BIND, 1, 0) == 0
    assert k.kernel_mbind(0, HUGE, MPOL_BIND, 1, 8) == -EINVAL
    with pytest.raises(Unmodelled, match="MPOL_MF_STRICT"):
        k.kernel_mbind(0, HUGE, MPOL_BIND, 1, MPOL_MF_STRICT)


def test_a_bind_policy_outside_the_cpuset_binds_nothing(k: Kernel) -> None:
    k.kernel_set_mempolicy(MPOL_BIND, 0b010)
    k.task.mems_allowed = 0b101
    assert k.huge_node(vma(k), 0, 0)[2] is None


def test_bind_with_thisnode_warns_once(k: Kernel) -> None:
    k.kernel_set_mempolicy(MPOL_BIND, 0b010)
    for _ in range(2):
        k.huge_node(vma(k), 0, _GFP_THISNODE)
    assert k.machine.warnings == ["gfp & __GFP_THISNODE"]


def test_home_node_is_for_bind_and_preferred_many(k: Kernel) -> None:
    area = vma(k)
    k.kernel_mbind(0, 8 * HUGE, MPOL_BIND, 0b011, 0)
    assert k.set_mempolicy_home_node(0, 8 * HUGE, 1, 0) == 0
    assert k.huge_node(area, 0, 0)[::2] == (1, 0b011)
    k.kernel_mbind(0, 8 * HUGE, MPOL_INTERLEAVE, 0b011, 0)
    assert k.set_mempolicy_home_node(0, 8 * HUGE, 1, 0) == -EOPNOTSUPP
    assert k.set_mempolicy_home_node(0, HUGE, 3, 0) == -EINVAL


@pytest.mark.parametrize(
    ("flags", "mode", "nodes"),
    [
        # The k-th node of the old set becomes the k-th of the new one.
        (0, MPOL_BIND, 0b110),
        (0, MPOL_PREFERRED_MANY, 0b011),
        (MPOL_F_STATIC_NODES, MPOL_BIND, 0b010),
        (MPOL_F_RELATIVE_NODES, MPOL_BIND, 0b110),
    ],
)
def test_a_new_cpuset_rebinds_policies(k: Kernel, flags: int, mode: int, nodes: int) -> None:
    k.task.mems_allowed = 0b011
    k.kernel_set_mempolicy(mode | flags, 0b011)
    k.cpuset_change_task_nodemask(k.task, 0b110)
    assert k.task.mempolicy is not None
    assert k.task.mempolicy.nodes == nodes
    assert k.cpuset_current_mems_allowed() == 0b110


def test_copies_are_equal_and_apart(k: Kernel) -> None:
    pols: list[Any] = []
    for mode in ALL:
        k.kernel_set_mempolicy(mode, 0b011)
        pols.append(k.task.mempolicy)
    for i, pol in enumerate(pols):
        again = k.mpol_dup(pol)
        assert again is not pol
        assert [k.mpol_equal(again, other) for other in pols] == [i == j for j in range(len(pols))]
    assert k.mpol_dup(None) is None
    assert k.mpol_equal(None, None)
    assert not k.mpol_equal(None, pols[0])
