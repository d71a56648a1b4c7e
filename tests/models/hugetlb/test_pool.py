"""The size of the pools."""

from __future__ import annotations

from typing import Any

import pytest

from models.kernel.errno import EINVAL, ENOENT, ERANGE
from models.kernel.machine import ULONG_MAX
from models.kernel.mempolicy import MPOL_BIND, MPOL_DEFAULT, MPOL_PREFERRED
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    return Kernel()


def nodes(k: Kernel) -> list[int]:
    """Huge pages of each node."""
    return list(k.h.nr_huge_pages_node[:2])


def take(k: Kernel, nid: int = 0) -> Any:
    """A page in use."""
    k.spin_lock_irq(k.hugetlb_lock)
    folio = k.dequeue_hugetlb_folio_nodemask(k.h, k.htlb_alloc_mask(k.h), nid, None)
    k.spin_unlock_irq(k.hugetlb_lock)
    return folio


def test_pages_come_from_the_nodes_in_turn_across_writes(k: Kernel) -> None:
    assert k.nr_hugepages_store(k.h, 3) == 0
    assert nodes(k) == [2, 1]
    assert k.h.next_nid_to_alloc == 1
    k.nr_hugepages_store(k.h, 4)
    assert nodes(k) == [2, 2]
    # Freeing has a cursor of its own.
    k.nr_hugepages_store(k.h, 3)
    assert nodes(k) == [1, 2]
    assert (k.h.next_nid_to_alloc, k.h.next_nid_to_free) == (0, 1)
    assert k.h.max_huge_pages == 3


def test_the_first_page_allocated_is_in_front_of_its_list(k: Kernel) -> None:
    k.nr_hugepages_store(k.h, 4)
    fronts = [k.list_first_entry(k.h.hugepage_freelists[n]).pfn >> 9 for n in (0, 1)]
    assert fronts == [zone.start for zone in k.zones[:2]]


def test_a_full_node_is_passed_over(k: Kernel) -> None:
    k.boot_memory([4, 64])
    k.nr_hugepages_store(k.h, 6)
    assert nodes(k) == [2, 4]
    k.nr_hugepages_store(k.h, ULONG_MAX)
    assert nodes(k) == [2, 32]
    assert k.h.max_huge_pages == 34


def test_a_failed_node_is_not_tried_hard_again(k: Kernel) -> None:
    k.machine.effects = []
    k.fail("buddy.0", 2)
    k.nr_hugepages_store(k.h, 4)
    assert nodes(k) == [1, 3]
    requests = [e.split() for e in k.machine.effects if e.startswith("alloc_pages")]
    assert [r[2] for r in requests] == [f"nid={n}" for n in (0, 1, 0, 1, 0, 1)]
    gfp = [int(r[4][4:], 16) for r in requests]
    # Node 0 is tried less hard after its first failure, and again in earnest once it gave a page.
    assert [g == gfp[0] for g in gfp] == [True, True, False, True, False, True]


def test_when_no_node_has_any_the_write_still_succeeds(k: Kernel) -> None:
    k.nr_hugepages_store(k.h, 2)
    k.fail("buddy", 2)
    assert k.nr_hugepages_store(k.h, 5) == 0
    assert (k.counters(), k.h.max_huge_pages) == ((2, 2, 0, 0), 2)
    assert k.hugetlb_lock.owner is k.h.resize_lock.owner is None


def test_surplus_becomes_persistent_before_anything_is_allocated(k: Kernel) -> None:
    k.pool(0, overcommit=2)
    k.hugetlb_acct_memory(k.h, 2)
    assert k.counters() == (2, 2, 2, 2)
    k.nr_hugepages_store(k.h, 1)
    assert (k.counters(), k.h.max_huge_pages) == ((2, 2, 2, 1), 1)
    k.nr_hugepages_store(k.h, 3)
    assert (k.counters(), k.h.max_huge_pages) == ((3, 3, 2, 0), 3)


def test_shrinking_keeps_what_is_reserved_and_makes_it_surplus(k: Kernel) -> None:
    k.pool(4)
    k.hugetlb_acct_memory(k.h, 3)
    k.nr_hugepages_store(k.h, 1)
    assert (k.counters(), k.h.max_huge_pages) == ((3, 3, 3, 2), 1)
    assert sum(k.h.surplus_huge_pages_node) == 2


def test_pages_in_use_become_surplus_and_go_when_freed(k: Kernel) -> None:
    k.pool(3)
    folio = take(k)
    k.nr_hugepages_store(k.h, 0)
    assert (k.counters(), k.h.max_huge_pages) == ((1, 0, 0, 1), 0)
    k.folio_put(folio)
    assert k.counters() == (0, 0, 0, 0)


def test_surplus_cannot_exceed_a_nodes_pages(k: Kernel) -> None:
    k.pool(2)
    folio = take(k, 1)
    k.spin_lock_irq(k.hugetlb_lock)
    assert [k.adjust_pool_surplus(k.h, 0b11, 1) for _ in range(3)] == [1, 1, 0]
    assert k.h.surplus_huge_pages_node[:2] == [1, 1]
    assert [k.adjust_pool_surplus(k.h, 0b10, -1) for _ in range(2)] == [1, 0]
    assert k.h.surplus_huge_pages_node[:2] == [1, 0]
    assert folio.nid == 1


def test_one_node_alone(k: Kernel) -> None:
    k.pool(4)
    assert k.nr_hugepages_store(k.h, 5, 1) == 0
    assert nodes(k) == [2, 5]
    assert k.h.max_huge_pages == 7
    assert k.nr_hugepages_store(k.h, 0, 0) == 0
    assert nodes(k) == [0, 5]
    # Larger than any number of pages: as many as there are.
    k.nr_hugepages_store(k.h, ULONG_MAX, 0)
    assert nodes(k) == [32, 5]
    assert k.nr_hugepages_store(k.h, 1, 2) == -ENOENT


def test_a_nodes_surplus_counts_as_gone_from_it(k: Kernel) -> None:
    k.pool(2)
    folio = take(k, 1)
    k.nr_hugepages_store(k.h, 0, 1)
    assert k.h.surplus_huge_pages_node[:2] == [0, 1]
    assert k.counters() == (2, 1, 0, 1)
    k.nr_hugepages_store(k.h, 1, 1)
    assert k.counters() == (2, 1, 0, 0)
    assert folio.nid == 1


def test_the_policy_variant_obeys_the_policy(k: Kernel) -> None:
    k.kernel_set_mempolicy(MPOL_BIND, 0b10)
    k.nr_hugepages_mempolicy_store(k.h, 2)
    assert nodes(k) == [0, 2]
    k.kernel_set_mempolicy(MPOL_PREFERRED, 0)
    k.hugetlb_mempolicy_sysctl_handler(3)
    assert nodes(k) == [1, 2]
    k.nr_hugepages_store(k.h, 5)
    assert nodes(k) == [2, 3]
    k.kernel_set_mempolicy(MPOL_DEFAULT, 0)
    k.nr_hugepages_mempolicy_store(k.h, 0)
    assert nodes(k) == [0, 0]
    # Only the policy's nodes shrink.
    k.pool(4)
    k.kernel_set_mempolicy(MPOL_BIND, 0b01)
    k.nr_hugepages_mempolicy_store(k.h, 0)
    assert nodes(k) == [0, 2]
    assert k.h.max_huge_pages == 2


def test_gigantic_pages_come_and_go_at_run_time_but_not_as_surplus(k: Kernel) -> None:
    k.boot_memory([3072, 1024])
    large = k.hstates[1]
    assert k.nr_hugepages_store(large, 9) == 0
    assert large.nr_huge_pages_node[:2] == [3, 1]
    assert k.nr_hugepages_store(k.h, 1) == 0
    assert k.h.nr_huge_pages == 0
    k.nr_hugepages_store(large, 3)
    k.nr_hugepages_store(k.h, 1)
    assert (large.nr_huge_pages, k.h.nr_huge_pages) == (3, 1)
    assert k.nr_overcommit_hugepages_store(large, 1) == -EINVAL
    assert large.nr_overcommit_huge_pages == 0


def test_numbers_are_unsigned_long(k: Kernel) -> None:
    for number, err in ((-1, -EINVAL), (1 << 64, -ERANGE)):
        assert k.nr_hugepages_store(k.h, number) == err
        assert k.nr_overcommit_hugepages_store(k.h, number) == err
    assert k.hugetlb_sysctl_handler(-1) == k.hugetlb_overcommit_handler(-1) == -EINVAL
    assert k.counters() == (0, 0, 0, 0)
    assert k.nr_overcommit_hugepages_store(k.h, ULONG_MAX) == 0
    assert k.hugetlb_overcommit_handler(3) == 0
    assert k.h.nr_overcommit_huge_pages == 3
    assert k.hugetlb_sysctl_handler(2) == 0
    assert k.h.nr_huge_pages == 2
