"""Dissolving in 6.12.117: a node's surplus goes before its persistent pages (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.errno import EBUSY
from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.machine import ULONG_MAX
from models.kernel.port import ported
from models.kernel.structs import Folio

if TYPE_CHECKING:
    from models.hugetlb.dissolve import wait_for_others
    from models.hugetlb.folio_list import (
        add_hugetlb_folio,
        available_huge_pages,
        hugetlb_vmemmap_restore_folio,
        remove_hugetlb_folio,
        update_and_free_hugetlb_folio,
    )
    from models.hugetlb.hstate import hstate_is_gigantic_no_runtime, hugetlb_lock
    from models.hugetlb.inline import folio_hstate
    from models.kernel.page import folio_test_hugetlb, folio_test_hugetlb_freed


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
            adjust_surplus = False
            # Gigantic pages stay where they are if they could not be taken off their list.
            if hstate_is_gigantic_no_runtime(h):
                break
            if not available_huge_pages(h):
                break
            if not folio_test_hugetlb_freed(folio):
                # Freed, but not on its list yet: that takes a moment only.
                spin_unlock_irq(hugetlb_lock)
                wait_for_others()
                continue
            if h.surplus_huge_pages_node[folio.nid]:
                adjust_surplus = True
            remove_hugetlb_folio(h, folio, adjust_surplus)
            if not adjust_surplus:
                h.max_huge_pages = (h.max_huge_pages - 1) & ULONG_MAX
            spin_unlock_irq(hugetlb_lock)
            if folio_test_hugetlb(folio):
                rc = hugetlb_vmemmap_restore_folio(h, folio)
                if rc:
                    spin_lock_irq(hugetlb_lock)
                    add_hugetlb_folio(h, folio, adjust_surplus)
                    if not adjust_surplus:
                        h.max_huge_pages = (h.max_huge_pages + 1) & ULONG_MAX
                    break
            else:
                rc = 0
            update_and_free_hugetlb_folio(h, folio, False)
            return rc
        break
    spin_unlock_irq(hugetlb_lock)
    return rc
