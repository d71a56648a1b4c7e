"""hstates, their cursors, and the flags of their allocations."""

from __future__ import annotations

import pytest

from models.hugetlb.hstate import (
    MR_COMPACTION,
    MR_LONGTERM_PIN,
    MR_MEMORY_FAILURE,
    MR_MEMPOLICY_MBIND,
    MR_NUMA_MISPLACED,
    MR_SYSCALL,
)
from models.kernel.gfp import _GFP_MOVABLE, _GFP_NOWARN, _GFP_THISNODE, GFP_HIGHUSER
from models.kernel.machine import KernelBug
from tests.models.linked import Kernel


def test_two_sizes_of_which_the_larger_is_demoted_to_the_smaller() -> None:
    k = Kernel()
    small, large = k.hstates
    assert [h.name for h in k.hstates] == ["hugepages-2048kB", "hugepages-1048576kB"]
    assert (small.demote_order, large.demote_order) == (0, 9)
    assert k.size_to_hstate(1 << 21) is k.default_hstate() is small
    assert k.size_to_hstate(1 << 30) is large
    assert k.size_to_hstate(1 << 12) is None
    k.hugetlb_add_hstate(9)
    assert len(k.hstates) == 2
    with pytest.raises(KernelBug, match="hugetlb_max_hstate"):
        k.hugetlb_add_hstate(10)


def test_gigantic_pages_are_not_taken_from_movable_memory() -> None:
    k = Kernel()
    small, large = k.hstates
    assert k.htlb_alloc_mask(small) & _GFP_MOVABLE
    assert not k.htlb_alloc_mask(large) & _GFP_MOVABLE
    assert k.htlb_alloc_mask(large) & GFP_HIGHUSER == GFP_HIGHUSER
    assert k.htlb_modify_alloc_mask(small, _GFP_THISNODE | 1 << 20) == (
        k.htlb_alloc_mask(small) | _GFP_THISNODE
    )
    assert k.htlb_alloc_mask(small) & _GFP_NOWARN
    assert not k.hstate_is_gigantic_no_runtime(large)


def test_who_may_break_a_nodes_pool() -> None:
    k = Kernel()
    allowed = [k.htlb_allow_alloc_fallback(reason) for reason in range(MR_LONGTERM_PIN + 1)]
    assert [reason for reason, yes in enumerate(allowed) if yes] == [
        MR_MEMORY_FAILURE,
        2,  # memory hotplug
        MR_SYSCALL,
        MR_MEMPOLICY_MBIND,
    ]
    assert not allowed[MR_COMPACTION]
    assert not allowed[MR_NUMA_MISPLACED]


def test_the_cursor_names_the_node_of_this_turn_and_moves_on() -> None:
    k = Kernel(nodes=3)
    h = k.h
    assert [k.hstate_next_node_to_alloc(h, 0b111) for _ in range(4)] == [0, 1, 2, 0]
    assert h.next_nid_to_alloc == 1
    # A cursor outside of the mask goes to the next node inside.
    assert k.hstate_next_node_to_alloc(h, 0b101) == 2
    assert h.next_nid_to_alloc == 0
    assert h.next_nid_to_free == 0
    assert [k.hstate_next_node_to_free(h, 0b110) for _ in range(3)] == [1, 2, 1]
    with pytest.raises(KernelBug, match="MAX_NUMNODES"):
        k.hstate_next_node_to_free(h, 0)


def test_a_walk_that_stops_early_leaves_the_cursor_behind_the_last_node() -> None:
    k = Kernel(nodes=3)
    h = k.h
    h.next_nid_to_free = 1
    for node in k.for_each_node_mask_to_free(h, 0b111):
        if node == 2:
            break
    assert h.next_nid_to_free == 0
    assert list(k.for_each_node_mask_to_free(h, 0b111)) == [0, 1, 2]
    assert list(k.for_each_node_mask_to_alloc(h, 0b011)) == [0, 1]
    assert list(k.for_each_node_mask_to_alloc(h, 0)) == []
