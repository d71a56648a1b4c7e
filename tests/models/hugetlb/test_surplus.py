"""Fresh folios: surplus, temporary, reserved."""

from __future__ import annotations

import pytest

from models.hugetlb.structs import HPG_TEMPORARY
from models.kernel.gfp import _GFP_DIRECT_RECLAIM
from models.kernel.machine import KernelBug
from models.kernel.mempolicy import MPOL_BIND, MPOL_PREFERRED_MANY
from models.kernel.structs import VM_HUGETLB, File, Inode, SuperBlock, VmArea
from tests.models.linked import Kernel

HUGE = 1 << 21


@pytest.fixture
def k() -> Kernel:
    return Kernel()


def vma(k: Kernel) -> VmArea:
    area = VmArea(k.task.mm, 0, 4 * HUGE, VM_HUGETLB)
    area.vm_file = File(Inode(1, SuperBlock("h0", k.h)))
    return area


def test_surplus_is_bounded_by_overcommit(k: Kernel) -> None:
    k.pool(0, overcommit=1)
    gfp = k.htlb_alloc_mask(k.h)
    folio = k.alloc_surplus_hugetlb_folio(k.h, gfp, 1, None)
    assert (folio.nid, folio.refcount) == (1, 0)
    assert k.counters() == (1, 0, 0, 1)
    assert k.h.surplus_huge_pages_node[:2] == [0, 1]
    assert k.alloc_surplus_hugetlb_folio(k.h, gfp, 0, None) is None
    assert k.hugetlb_lock.owner is None


def test_no_surplus_of_gigantic_pages(k: Kernel) -> None:
    large = k.hstates[1]
    large.nr_overcommit_huge_pages = 1
    assert k.alloc_surplus_hugetlb_folio(large, 0, 0, None) is None
    assert k.alloc_migrate_hugetlb_folio(large, 0, 0, None) is None


def test_overcommit_that_shrinks_meanwhile_costs_the_page(k: Kernel) -> None:
    k.pool(0, overcommit=1)
    calls = []

    def shrink(kind: str, lock: object) -> None:
        calls.append(kind)
        # The lock is taken to look, to count the page, and to look again.
        if calls.count("spin_lock") == 3:
            k.h.nr_overcommit_huge_pages = 0

    k.machine.lock_hook = shrink
    assert k.alloc_surplus_hugetlb_folio(k.h, k.htlb_alloc_mask(k.h), 0, None) is None
    assert k.counters() == (0, 0, 0, 0)
    assert k.zones[0].free.bit_count() == 32


def test_the_policy_says_where_surplus_comes_from(k: Kernel) -> None:
    k.pool(0, overcommit=9)
    k.kernel_set_mempolicy(MPOL_BIND, 0b10)
    assert k.alloc_buddy_hugetlb_folio_with_mpol(k.h, vma(k), 0).nid == 1
    k.fail("buddy.1")
    assert k.alloc_buddy_hugetlb_folio_with_mpol(k.h, vma(k), 0) is None


def test_preferring_many_tries_them_gently_and_then_everywhere(k: Kernel) -> None:
    k.pool(0, overcommit=9)
    k.kernel_set_mempolicy(MPOL_PREFERRED_MANY, 0b10)
    k.machine.effects = []
    k.fail("buddy.1")
    assert k.alloc_buddy_hugetlb_folio_with_mpol(k.h, vma(k), 0).nid == 0
    requests = [e.split() for e in k.machine.effects if e.startswith("alloc_pages")]
    assert [r[3] for r in requests] == ["mask=2", "mask=None"]
    assert [bool(int(r[4][4:], 16) & _GFP_DIRECT_RECLAIM) for r in requests] == [False, True]


def test_a_page_to_migrate_to_comes_from_the_pool_if_one_is_available(k: Kernel) -> None:
    k.pool(2)
    gfp = k.htlb_alloc_mask(k.h)
    folio = k.alloc_hugetlb_folio_nodemask(k.h, 1, None, gfp, True)
    assert (folio.nid, folio.refcount, folio.hpg & HPG_TEMPORARY) == (1, 1, 0)
    k.hugetlb_acct_memory(k.h, 1)
    fresh = k.alloc_hugetlb_folio_nodemask(k.h, 1, None, gfp, True)
    assert (fresh.nid, fresh.refcount, fresh.hpg & HPG_TEMPORARY) == (1, 1, HPG_TEMPORARY)
    # Counted, but not as surplus.
    assert k.counters() == (3, 1, 1, 0)
    k.folio_put(fresh)
    assert k.counters() == (2, 1, 1, 0)


def test_without_fallback_a_fresh_page_stays_on_its_node(k: Kernel) -> None:
    gfp = k.htlb_alloc_mask(k.h)
    k.fail("buddy.1", 2)
    assert k.alloc_hugetlb_folio_nodemask(k.h, 1, None, gfp, False) is None
    assert k.alloc_hugetlb_folio_nodemask(k.h, 1, None, gfp, True).nid == 0


def test_a_reserved_page_needs_a_reservation(k: Kernel) -> None:
    k.pool(2)
    k.hugetlb_acct_memory(k.h, 1)
    gfp = k.htlb_alloc_mask(k.h)
    assert k.alloc_hugetlb_folio_reserve(k.h, 1, None, gfp).nid == 1
    assert k.counters() == (2, 1, 0, 0)
    with pytest.raises(KernelBug, match="resv_huge_pages"):
        k.alloc_hugetlb_folio_reserve(k.h, 1, None, gfp)


def test_an_empty_pool_has_no_reserved_page_to_give(k: Kernel) -> None:
    assert k.alloc_hugetlb_folio_reserve(k.h, 0, None, k.htlb_alloc_mask(k.h)) is None
    assert k.counters() == (0, 0, 0, 0)
