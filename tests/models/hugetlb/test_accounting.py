"""The global reservation: what is free, what must be gathered, what policies and cpusets forbid."""

from __future__ import annotations

import pytest

from models.kernel.errno import ENOMEM
from models.kernel.mempolicy import MPOL_BIND
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.pool(4, overcommit=2)
    return kernel


def test_free_pages_are_reserved_without_gathering(k: Kernel) -> None:
    assert k.hugetlb_acct_memory(k.h, 4) == 0
    assert k.counters() == (4, 4, 4, 0)
    assert k.hugetlb_acct_memory(k.h, 0) == 0
    assert k.hugetlb_acct_memory(k.h, -3) == 0
    assert k.counters() == (4, 4, 1, 0)


def test_what_is_missing_is_gathered_and_given_back_with_the_reservation(k: Kernel) -> None:
    assert k.hugetlb_acct_memory(k.h, 6) == 0
    assert k.counters() == (6, 6, 6, 2)
    assert k.hugetlb_acct_memory(k.h, -1) == 0
    assert k.counters() == (5, 5, 5, 1)
    assert k.hugetlb_acct_memory(k.h, -5) == 0
    assert k.counters() == (4, 4, 0, 0)


def test_too_much_leaves_nothing_behind(k: Kernel) -> None:
    assert k.hugetlb_acct_memory(k.h, 7) == -ENOMEM
    assert k.counters() == (4, 4, 0, 0)
    assert k.hugetlb_lock.owner is None


def test_surplus_comes_from_the_lowest_node_allowed(k: Kernel) -> None:
    assert k.hugetlb_acct_memory(k.h, 6) == 0
    assert k.h.surplus_huge_pages_node[:2] == [2, 0]


def test_a_bound_task_needs_its_pages_on_its_nodes(k: Kernel) -> None:
    # Two of the four pages are on each node.
    assert k.do_set_mempolicy(MPOL_BIND, 0, 0b10) == 0
    assert k.hugetlb_acct_memory(k.h, 2) == 0
    assert k.hugetlb_acct_memory(k.h, -2) == 0
    assert k.hugetlb_acct_memory(k.h, 3) == -ENOMEM
    assert k.counters() == (4, 4, 0, 0)
    assert k.allowed_mems_nr(k.h) == 2
    # Enough in all: gathered on node 1, which then has four.
    assert k.hugetlb_acct_memory(k.h, 4) == -ENOMEM
    k.hugetlb_acct_memory(k.h, 2)
    assert k.hugetlb_acct_memory(k.h, 4) == 0
    assert k.h.surplus_huge_pages_node[:2] == [0, 2]


def test_a_cpuset_limits_as_a_policy_does(k: Kernel) -> None:
    k.task.mems_allowed = 0b01
    assert k.allowed_mems_nr(k.h) == 2
    assert k.hugetlb_acct_memory(k.h, 3) == -ENOMEM
    assert k.hugetlb_acct_memory(k.h, 2) == 0


def test_a_policy_without_a_node_of_the_cpuset_is_not_looked_at(k: Kernel) -> None:
    assert k.do_set_mempolicy(MPOL_BIND, 0, 0b10) == 0
    k.task.mems_allowed = 0b01
    assert k.policy_mbind_nodemask(0) is None
    k.task.mems_allowed = 0b11
    assert k.policy_mbind_nodemask(0) == 0b10


def test_resv_above_free_wraps_as_unsigned_and_reads_as_signed(k: Kernel) -> None:
    k.h.resv_huge_pages = 2**64 - 1
    # -1 + 5 - 4 is nothing to gather.
    assert k.hugetlb_acct_memory(k.h, 4) == 0
    assert k.h.resv_huge_pages == 3
    k.h.resv_huge_pages = 0
    k.hugetlb_acct_memory(k.h, -1)
    assert k.h.resv_huge_pages == 2**64 - 1


def test_surplus_on_a_node_without_a_free_page_stays(k: Kernel) -> None:
    assert k.hugetlb_acct_memory(k.h, 6) == 0
    k.spin_lock_irq(k.hugetlb_lock)
    for nid in (0, 0, 0, 0, 1):
        assert k.dequeue_hugetlb_folio_node_exact(k.h, nid) is not None
    k.spin_unlock_irq(k.hugetlb_lock)
    assert k.h.free_huge_pages_node[:2] == [0, 1]
    assert k.hugetlb_acct_memory(k.h, -6) == 0
    # Both surplus pages are in use on node 0, and node 1 has none to give.
    assert k.counters() == (6, 1, 0, 2)
