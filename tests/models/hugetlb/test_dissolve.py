"""Free pages taken out of the pool one by one, in the base and in 6.12.117."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest

from models.hugetlb.structs import HPG_VMEMMAP_OPTIMIZED
from models.kernel.errno import EBUSY, ENOMEM
from models.kernel.lists import ListHead
from models.kernel.machine import KernelHang
from models.kernel.structs import Folio
from stable import dissolve
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.pool(4)
    return kernel


def front(k: Kernel, nid: int = 0) -> Any:
    """The first page of a node's free list."""
    return k.list_first_entry(k.h.hugepage_freelists[nid])


def take(k: Kernel) -> Any:
    """A page in use."""
    k.spin_lock_irq(k.hugetlb_lock)
    folio = k.dequeue_hugetlb_folio_nodemask(k.h, k.htlb_alloc_mask(k.h), 0, None)
    k.spin_unlock_irq(k.hugetlb_lock)
    return folio


def newer(k: Kernel) -> None:
    """Give the system the body of 6.12.117."""
    code = dissolve.dissolve_free_hugetlb_folio.__code__
    k.names["dissolve_free_hugetlb_folio"] = FunctionType(code, k.names)


def test_a_free_page_goes_back_and_the_pool_is_one_smaller(k: Kernel) -> None:
    folio = front(k)
    assert k.dissolve_free_hugetlb_folio(folio) == 0
    assert (k.counters(), k.h.max_huge_pages) == ((3, 3, 0, 0), 3)
    assert not folio.hugetlb
    # Done already.
    assert k.dissolve_free_hugetlb_folio(folio) == 0
    assert k.counters() == (3, 3, 0, 0)


def test_a_page_in_use_or_needed_for_reservations_stays(k: Kernel) -> None:
    assert k.dissolve_free_hugetlb_folio(take(k)) == -EBUSY
    k.hugetlb_acct_memory(k.h, 3)
    assert k.dissolve_free_hugetlb_folio(front(k)) == -EBUSY
    assert (k.counters(), k.hugetlb_lock.owner) == ((4, 3, 3, 0), None)


def test_the_base_takes_a_persistent_page_even_where_there_is_surplus(k: Kernel) -> None:
    k.h.surplus_huge_pages = k.h.surplus_huge_pages_node[0] = 1
    k.h.max_huge_pages = 3
    assert k.dissolve_free_hugetlb_folio(front(k)) == 0
    # One persistent page too few is counted now: 3 pages, one of them surplus.
    assert (k.counters(), k.h.max_huge_pages) == ((3, 3, 0, 1), 2)


def test_later_the_surplus_of_the_node_goes_first(k: Kernel) -> None:
    newer(k)
    k.h.surplus_huge_pages = k.h.surplus_huge_pages_node[0] = 1
    k.h.max_huge_pages = 3
    assert k.dissolve_free_hugetlb_folio(front(k, 1)) == 0
    assert (k.counters(), k.h.max_huge_pages) == ((3, 3, 0, 1), 2)
    assert k.dissolve_free_hugetlb_folio(front(k, 0)) == 0
    assert (k.counters(), k.h.max_huge_pages) == ((2, 2, 0, 0), 2)


@pytest.mark.parametrize("later", [False, True])
def test_a_page_whose_vmemmap_cannot_be_restored_comes_back(k: Kernel, later: bool) -> None:
    if later:
        newer(k)
    folio = front(k)
    folio.hpg |= HPG_VMEMMAP_OPTIMIZED
    k.names["hugetlb_vmemmap_restore_folio"] = lambda h, folio: -ENOMEM
    assert k.dissolve_free_hugetlb_folio(folio) == -ENOMEM
    assert (k.counters(), k.h.max_huge_pages) == ((4, 4, 0, 0), 4)
    assert front(k) is folio
    assert k.hugetlb_lock.owner is None


def test_a_page_between_use_and_free_list_is_waited_for(k: Kernel) -> None:
    folio = take(k)
    folio.refcount = 0
    with pytest.raises(KernelHang):
        k.dissolve_free_hugetlb_folio(folio)

    def other(kind: str, lock: object) -> None:
        if kind == "wait":
            k.machine.lock_hook = None
            k.free_huge_folio(folio)

    k.machine.lock_hook = other
    assert k.dissolve_free_hugetlb_folio(folio) == 0
    assert k.counters() == (3, 3, 0, 0)


def test_a_range_stops_at_the_first_page_that_cannot_go(k: Kernel) -> None:
    used = take(k)
    free = front(k)
    assert sorted((used.pfn, free.pfn)) == [0, 512]
    end = k.zones[0].end << 9
    assert k.dissolve_free_hugetlb_folios(0, end) == -EBUSY
    assert k.counters() == (4, 3, 0, 0)
    assert k.dissolve_free_hugetlb_folios(512, end) == 0
    assert k.counters() == (3, 2, 0, 0)
    assert k.h.nr_huge_pages_node[:2] == [1, 2]


def test_a_gigantic_page_is_dissolved_whole(k: Kernel) -> None:
    k = Kernel()
    k.boot_memory([2048, 1024])
    large = k.hstates[1]
    k.nr_hugepages_store(large, 3)
    assert k.dissolve_free_hugetlb_folios(1 << 18, (1 << 18) + 512) == 0
    assert large.nr_huge_pages_node[:2] == [1, 1]


def test_a_free_page_can_be_replaced_by_another(k: Kernel) -> None:
    old = front(k)
    moved: ListHead[Folio] = ListHead()
    assert k.isolate_or_dissolve_huge_page(old, moved) == 0
    assert k.counters() == (4, 4, 0, 0)
    assert not old.hugetlb
    assert front(k).pfn != old.pfn
    assert front(k).nid == 0
    # Already done.
    assert k.isolate_or_dissolve_huge_page(old, moved) == 0


def test_without_another_the_page_stays(k: Kernel) -> None:
    old = front(k)
    k.fail("buddy.0")
    assert k.isolate_or_dissolve_huge_page(old, ListHead()) == -ENOMEM
    assert k.counters() == (4, 4, 0, 0)
    assert front(k) is old


def test_gigantic_pages_are_not_replaced(k: Kernel) -> None:
    k = Kernel()
    k.boot_memory([2048, 1024])
    large = k.hstates[1]
    k.nr_hugepages_store(large, 1)
    folio = k.list_first_entry(large.hugepage_freelists[0])
    assert k.isolate_or_dissolve_huge_page(folio, ListHead()) == -ENOMEM


def test_a_page_taken_meanwhile_costs_the_fresh_one(k: Kernel) -> None:
    old = front(k)
    frames = k.zones[0].free.bit_count()
    calls: list[str] = []

    def other(kind: str, lock: object) -> None:
        calls.append(kind)
        # Taken once to look at the page, once more to see that it is free; then it is gone.
        if calls.count("spin_unlock") == 2:
            k.machine.lock_hook = None
            assert k.dissolve_free_hugetlb_folio(old) == 0

    k.machine.lock_hook = other
    assert k.isolate_or_dissolve_huge_page(old, ListHead()) == 0
    assert k.counters() == (3, 3, 0, 0)
    assert k.zones[0].free.bit_count() == frames + 1
