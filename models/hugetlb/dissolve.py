"""Taking single free huge pages out of the pool, for memory hotplug, contiguous allocations and
memory errors (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import HState, hstate_is_gigantic, huge_page_order
from models.kernel.errno import EBUSY, ENOMEM
from models.kernel.gfp import _GFP_THISNODE
from models.kernel.lists import ListHead, list_entries
from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.machine import ULONG_MAX, KernelHang
from models.kernel.port import ported
from models.kernel.structs import Folio

if TYPE_CHECKING:
    from models.hugetlb.folio_list import (
        _prep_account_new_huge_page,
        _prep_new_hugetlb_folio,
        add_hugetlb_folio,
        available_huge_pages,
        enqueue_hugetlb_folio,
        hugetlb_vmemmap_restore_folio,
        remove_hugetlb_folio,
        update_and_free_hugetlb_folio,
    )
    from models.hugetlb.hstate import default_hstate, hstates, htlb_alloc_mask, hugetlb_lock
    from models.hugetlb.inline import folio_hstate
    from models.hugetlb.migrate import isolate_hugetlb
    from models.hugetlb.surplus import alloc_buddy_hugetlb_folio
    from models.kernel.machine import machine
    from models.kernel.page import folio_test_hugetlb, folio_test_hugetlb_freed


@ported("include/linux/mm.h", "pfn_folio")
def pfn_folio(pfn: int) -> Folio | None:
    """The huge page that base page ``pfn`` belongs to, or None if it belongs to none."""
    for h in hstates:
        for head in [h.hugepage_activelist, *h.hugepage_freelists]:
            for folio in list_entries(head):
                if folio.pfn <= pfn < folio.pfn + (1 << folio.order):
                    return folio
    return None


def wait_for_others() -> None:
    """cond_resched() in a loop that waits for somebody else.

    Raises:
        KernelHang: there is nobody else.
    """
    hook = machine.lock_hook
    if hook is None:
        msg = "a folio is neither in use nor on its free list, and nobody else runs"
        raise KernelHang(msg)
    hook("wait", hugetlb_lock)


@ported("mm/hugetlb.c", "dissolve_free_hugetlb_folio")
def dissolve_free_hugetlb_folio(folio: Folio) -> int:
    """Give a free folio back to the page allocator.

    Returns 0 also if it is no huge page (any more), -EBUSY if it is in use or needed for
    reservations, or -ENOMEM.
    """
    rc = -EBUSY
    while True:
        if not folio_test_hugetlb(folio):
            return 0
        spin_lock_irq(hugetlb_lock)
        if not folio_test_hugetlb(folio):
            rc = 0
            break
        if not folio.refcount:
            h = folio_hstate(folio)
            if not available_huge_pages(h):
                break
            if not folio_test_hugetlb_freed(folio):
                # Freed, but not on its list yet: that takes a moment only.
                spin_unlock_irq(hugetlb_lock)
                wait_for_others()
                continue
            remove_hugetlb_folio(h, folio, False)
            h.max_huge_pages = (h.max_huge_pages - 1) & ULONG_MAX
            spin_unlock_irq(hugetlb_lock)
            if folio_test_hugetlb(folio):
                rc = hugetlb_vmemmap_restore_folio(h, folio)
                if rc:
                    spin_lock_irq(hugetlb_lock)
                    add_hugetlb_folio(h, folio, False)
                    h.max_huge_pages = (h.max_huge_pages + 1) & ULONG_MAX
                    break
            else:
                rc = 0
            update_and_free_hugetlb_folio(h, folio, False)
            return rc
        break
    spin_unlock_irq(hugetlb_lock)
    return rc


@ported("mm/hugetlb.c", "dissolve_free_hugetlb_folios")
def dissolve_free_hugetlb_folios(start_pfn: int, end_pfn: int) -> int:
    """Dissolve the free huge pages of a range of base pages: 0 or -errno of the first that could
    not be."""
    rc = 0
    order = huge_page_order(default_hstate())
    for h in hstates:
        order = min(order, huge_page_order(h))
    pfn = start_pfn
    while pfn < end_pfn:
        folio = pfn_folio(pfn)
        # Memory that is no huge page counts as dissolved.
        rc = dissolve_free_hugetlb_folio(folio) if folio is not None else 0
        if rc:
            break
        pfn += 1 << order
    return rc


@ported("mm/hugetlb.c", "alloc_and_dissolve_hugetlb_folio")
def alloc_and_dissolve_hugetlb_folio(
    h: HState, old_folio: Folio, isolated_list: ListHead[Folio]
) -> int:
    """Put a fresh folio in the place of a free one, which goes back to the page allocator; isolate
    it if it is in use by now. 0, -EBUSY or -ENOMEM."""
    gfp_mask = htlb_alloc_mask(h) | _GFP_THISNODE
    nid = old_folio.nid
    new_folio: Folio | None = None
    ret = 0
    while True:
        spin_lock_irq(hugetlb_lock)
        if not folio_test_hugetlb(old_folio):
            break
        if old_folio.refcount:
            spin_unlock_irq(hugetlb_lock)
            isolated = isolate_hugetlb(old_folio, isolated_list)
            ret = 0 if isolated else -EBUSY
            spin_lock_irq(hugetlb_lock)
            break
        if not folio_test_hugetlb_freed(old_folio):
            spin_unlock_irq(hugetlb_lock)
            wait_for_others()
            continue
        if new_folio is None:
            spin_unlock_irq(hugetlb_lock)
            new_folio = alloc_buddy_hugetlb_folio(h, gfp_mask, nid, None, None)
            if new_folio is None:
                return -ENOMEM
            _prep_new_hugetlb_folio(h, new_folio)
            continue
        remove_hugetlb_folio(h, old_folio, False)
        _prep_account_new_huge_page(h, nid)
        enqueue_hugetlb_folio(h, new_folio)
        spin_unlock_irq(hugetlb_lock)
        update_and_free_hugetlb_folio(h, old_folio, False)
        return ret
    spin_unlock_irq(hugetlb_lock)
    if new_folio is not None:
        update_and_free_hugetlb_folio(h, new_folio, False)
    return ret


@ported("mm/hugetlb.c", "isolate_or_dissolve_huge_page")
def isolate_or_dissolve_huge_page(folio: Folio, isolated_list: ListHead[Folio]) -> int:
    """Clear a huge page out of the way of a contiguous allocation: 0, -EBUSY or -ENOMEM."""
    ret = -EBUSY
    spin_lock_irq(hugetlb_lock)
    if folio_test_hugetlb(folio):
        h = folio_hstate(folio)
    else:
        spin_unlock_irq(hugetlb_lock)
        return 0
    spin_unlock_irq(hugetlb_lock)
    if hstate_is_gigantic(h):
        return -ENOMEM
    if folio.refcount and isolate_hugetlb(folio, isolated_list):
        ret = 0
    elif not folio.refcount:
        ret = alloc_and_dissolve_hugetlb_folio(h, folio, isolated_list)
    return ret
