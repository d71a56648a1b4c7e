"""Free lists, counters, and the end of a huge page."""

from __future__ import annotations

from typing import Any

import pytest

from models.hugetlb.structs import (
    HPG_FREED,
    HPG_RAW_HWP_UNRELIABLE,
    HPG_RESTORE_RESERVE,
    HPG_TEMPORARY,
    HPG_VMEMMAP_OPTIMIZED,
)
from models.kernel.gfp import _GFP_THISNODE
from models.kernel.machine import ULONG_MAX, KernelBug
from models.kernel.structs import AnonVma, Folio
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.pool(4)
    return kernel


def free(k: Kernel, nid: int) -> list[Folio]:
    """A node's free list, front to back."""
    return list(k.list_entries(k.h.hugepage_freelists[nid]))


def take(k: Kernel, nid: int = 0, nmask: int | None = None) -> Any:
    """A folio off the free lists, with hugetlb_lock held meanwhile."""
    k.spin_lock_irq(k.hugetlb_lock)
    folio = k.dequeue_hugetlb_folio_nodemask(k.h, k.htlb_alloc_mask(k.h), nid, nmask)
    k.spin_unlock_irq(k.hugetlb_lock)
    return folio


def frames(k: Kernel) -> int:
    """Frames that the page allocator has left, over all nodes."""
    return sum(zone.free.bit_count() for zone in k.zones)


def test_the_last_page_freed_is_the_next_one_used(k: Kernel) -> None:
    first, second = free(k, 0)
    assert take(k) is first
    assert first.refcount == 1
    assert not first.hpg & HPG_FREED
    assert list(k.list_entries(k.h.hugepage_activelist)) == [first]
    assert take(k) is second
    k.folio_put(first)
    k.folio_put(second)
    assert free(k, 0) == [second, first]
    assert k.h.free_huge_pages_node[:2] == [2, 2]


def test_the_nearest_allowed_node_gives_first(k: Kernel) -> None:
    assert [take(k, 1).nid for _ in range(3)] == [1, 1, 0]
    assert take(k, 1, 0b10) is None
    k.task.mems_allowed = 0b10
    assert take(k, 0) is None
    k.task.mems_allowed = 0
    assert take(k, -1).nid == 0
    assert take(k, -1) is None
    assert k.counters() == (4, 0, 0, 0)


def test_thisnode_confines_the_walk(k: Kernel) -> None:
    k.spin_lock_irq(k.hugetlb_lock)
    got = [k.dequeue_hugetlb_folio_nodemask(k.h, _GFP_THISNODE, 1, None) for _ in range(3)]
    assert [f and f.nid for f in got] == [1, 1, None]


def test_poisoned_pages_stay_on_the_list(k: Kernel) -> None:
    first, second = free(k, 0)
    first.hwpoison = True
    assert take(k) is second
    assert take(k).nid == 1
    assert free(k, 0) == [first]
    assert k.h.free_huge_pages == 2


def test_available_pages_wrap_when_too_many_are_reserved(k: Kernel) -> None:
    k.h.resv_huge_pages = 3
    assert k.available_huge_pages(k.h) == 1
    k.h.resv_huge_pages = 5
    assert k.available_huge_pages(k.h) == ULONG_MAX


def test_lists_want_the_lock_and_pages_without_references(k: Kernel) -> None:
    folio = take(k)
    with pytest.raises(KernelBug, match="lockdep_assert_held"):
        k.enqueue_hugetlb_folio(k.h, folio)
    k.spin_lock_irq(k.hugetlb_lock)
    with pytest.raises(KernelBug, match="folio_ref_count"):
        k.enqueue_hugetlb_folio(k.h, folio)
    folio.refcount = 0
    folio._hugetlb_cgroup = object()
    with pytest.raises(KernelBug, match="hugetlb_cgroup_from_folio"):
        k.remove_hugetlb_folio(k.h, folio, False)


def test_a_page_with_the_restore_flag_gives_its_reservation_back(k: Kernel) -> None:
    folio = take(k)
    folio.hpg |= HPG_RESTORE_RESERVE
    k.folio_put(folio)
    assert k.counters() == (4, 4, 1, 0)
    assert folio.hpg == HPG_FREED
    again = take(k)
    assert again is folio
    k.folio_put(again)
    assert k.counters() == (4, 4, 1, 0)


def test_a_subpool_below_its_minimum_keeps_the_page_reserved(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, -1, 1)
    assert k.hugepage_subpool_get_pages(spool, 1) == 0
    folio = take(k)
    folio.subpool = spool
    k.h.resv_huge_pages = 0
    k.folio_put(folio)
    assert folio.subpool is None
    assert spool.rsv_hpages == 1
    assert k.counters() == (4, 4, 1, 0)


def test_anonymous_pages_lose_their_owner(k: Kernel) -> None:
    folio = take(k)
    folio.mapping = AnonVma()
    folio.anon_exclusive = True
    k.folio_put(folio)
    assert folio.mapping is None
    assert not folio.anon_exclusive


def test_a_mapped_page_is_not_freed(k: Kernel) -> None:
    folio = take(k)
    folio.mapcount = 1
    with pytest.raises(KernelBug, match="folio_mapcount"):
        k.folio_put(folio)


def test_surplus_of_the_node_goes_back_to_the_page_allocator(k: Kernel) -> None:
    before = frames(k)
    here, there = take(k, 0), take(k, 1)
    k.h.surplus_huge_pages = 1
    k.h.surplus_huge_pages_node[1] = 1
    k.folio_put(here)
    assert (k.counters(), frames(k)) == ((4, 3, 0, 1), before)
    k.folio_put(there)
    assert (k.counters(), frames(k)) == ((3, 3, 0, 0), before + 1)
    assert not there.hugetlb
    assert k.h.nr_huge_pages_node[:2] == [2, 1]


def test_a_temporary_page_does_not_count_as_surplus(k: Kernel) -> None:
    before = frames(k)
    folio = take(k)
    folio.hpg |= HPG_TEMPORARY
    k.h.surplus_huge_pages = k.h.surplus_huge_pages_node[0] = 1
    k.folio_put(folio)
    assert (k.counters(), frames(k)) == ((3, 3, 0, 1), before + 1)


def test_a_page_whose_errors_are_unknown_is_leaked(k: Kernel) -> None:
    before = frames(k)
    folio = take(k)
    folio.hwpoison = True
    folio.hpg |= HPG_TEMPORARY | HPG_RAW_HWP_UNRELIABLE
    k.folio_put(folio)
    assert (k.counters(), frames(k)) == ((3, 3, 0, 0), before)


def test_a_poisoned_page_leaves_its_mark_on_the_frame_alone(k: Kernel) -> None:
    before = frames(k)
    folio = take(k)
    folio.hwpoison = True
    folio.raw_hwp = (3,)
    folio.hpg |= HPG_TEMPORARY
    k.folio_put(folio)
    assert not folio.hwpoison
    assert frames(k) == before


def test_what_the_vmemmap_optimisation_leaves_for_later_is_freed_later(k: Kernel) -> None:
    before = frames(k)
    folio = take(k)
    folio.hpg |= HPG_TEMPORARY | HPG_VMEMMAP_OPTIMIZED
    k.folio_put(folio)
    assert (k.counters(), frames(k)) == ((3, 3, 0, 0), before)
    assert folio.hugetlb
    k.wait_for_freed_hugetlb_folios()
    assert frames(k) == before + 1
    assert not folio.hugetlb
    k.wait_for_freed_hugetlb_folios()
    assert frames(k) == before + 1


def test_a_removed_page_can_be_put_back_when_its_vmemmap_is_lost(k: Kernel) -> None:
    folio = free(k, 1)[0]
    folio.hpg |= HPG_VMEMMAP_OPTIMIZED
    k.spin_lock_irq(k.hugetlb_lock)
    k.remove_hugetlb_folio(k.h, folio, False)
    assert (k.counters(), folio.hugetlb) == ((3, 3, 0, 0), True)
    k.add_hugetlb_folio(k.h, folio, True)
    assert k.counters() == (4, 4, 0, 1)
    assert k.h.surplus_huge_pages_node[:2] == [0, 1]
    assert free(k, 1)[0] is folio
    with pytest.raises(KernelBug, match="vmemmap_optimized"):
        k.add_hugetlb_folio(k.h, free(k, 0)[0], True)


def test_counters_wrap_at_their_own_width(k: Kernel) -> None:
    h = k.h
    folio = take(k)
    folio.hpg |= HPG_TEMPORARY
    h.nr_huge_pages = h.nr_huge_pages_node[0] = 0
    k.folio_put(folio)
    assert h.nr_huge_pages == (1 << 64) - 1
    assert h.nr_huge_pages_node[0] == (1 << 32) - 1
