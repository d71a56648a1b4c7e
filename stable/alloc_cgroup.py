"""The charges for a reservation and for the use of a page are kept apart (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import pages_per_huge_page
from models.kernel.errno import ENOMEM, ENOSPC
from models.kernel.gfp import _GFP_RETRY_MAYFAIL
from models.kernel.lists import list_add
from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.machine import ULONG_MAX
from models.kernel.port import ported
from models.kernel.structs import Folio, VmArea

if TYPE_CHECKING:
    from models.hugetlb.accounting import hugetlb_acct_memory
    from models.hugetlb.cgroup import (
        hugetlb_cgroup_charge_cgroup,
        hugetlb_cgroup_charge_cgroup_rsvd,
        hugetlb_cgroup_commit_charge,
        hugetlb_cgroup_commit_charge_rsvd,
        hugetlb_cgroup_uncharge_cgroup,
        hugetlb_cgroup_uncharge_cgroup_rsvd,
        hugetlb_cgroup_uncharge_folio_rsvd,
    )
    from models.hugetlb.externs import vma_has_reserves
    from models.hugetlb.hstate import htlb_alloc_mask, hugetlb_lock
    from models.hugetlb.inline import hstate_index, hstate_vma, subpool_vma
    from models.hugetlb.subpool import hugepage_subpool_get_pages, hugepage_subpool_put_pages
    from models.hugetlb.surplus import alloc_buddy_hugetlb_folio_with_mpol
    from models.hugetlb.vma_resv import (
        vma_commit_reservation,
        vma_end_reservation,
        vma_needs_reservation,
    )
    from models.kernel.memcg import (
        get_mem_cgroup_from_current,
        mem_cgroup_cancel_charge,
        mem_cgroup_commit_charge,
        mem_cgroup_hugetlb_try_charge,
        mem_cgroup_put,
    )
    from models.kernel.page import (
        folio_ref_unfreeze,
        folio_set_hugetlb_restore_reserve,
        hugetlb_set_folio_subpool,
    )
    from stable.cow_from_owner import dequeue_hugetlb_folio_vma


@ported("mm/hugetlb.c", "alloc_hugetlb_folio")
def alloc_hugetlb_folio(vma: VmArea, addr: int, cow_from_owner: bool) -> Folio | int:
    """A huge page for an address (bytes) with one reference, or -ENOMEM or -ENOSPC.

    With ``cow_from_owner`` it bypasses the reservations of the vma, but not those of its subpool.
    ``undo`` says at which of the C's labels an error enters: 3 out_uncharge_cgroup,
    2 out_uncharge_cgroup_reservation, 1 out_subpool_put, 0 out_end_reservation.
    """
    spool = subpool_vma(vma)
    h = hstate_vma(vma)
    nr_pages = pages_per_huge_page(h)
    gfp = htlb_alloc_mask(h) | _GFP_RETRY_MAYFAIL
    memcg = get_mem_cgroup_from_current()
    memcg_charge_ret = mem_cgroup_hugetlb_try_charge(memcg, gfp, nr_pages)
    if memcg_charge_ret == -ENOMEM:
        mem_cgroup_put(memcg)
        return -ENOMEM
    idx = hstate_index(h)
    # Zero: the reservation map has a reservation for this page.
    map_chg = gbl_chg = vma_needs_reservation(h, vma, addr)
    if map_chg < 0:
        if not memcg_charge_ret:
            mem_cgroup_cancel_charge(memcg, nr_pages)
        mem_cgroup_put(memcg)
        return -ENOMEM
    undo = 0
    while True:
        if map_chg or cow_from_owner:
            gbl_chg = hugepage_subpool_get_pages(spool, 1)
            if gbl_chg < 0:
                break
        deferred_reserve = bool(map_chg or cow_from_owner)
        undo = 1
        if deferred_reserve:
            ret, h_cg_rsvd = hugetlb_cgroup_charge_cgroup_rsvd(idx, pages_per_huge_page(h))
            if ret:
                break
        undo = 2
        ret, h_cg = hugetlb_cgroup_charge_cgroup(idx, pages_per_huge_page(h))
        if ret:
            break
        undo = 3
        spin_lock_irq(hugetlb_lock)
        folio = dequeue_hugetlb_folio_vma(h, vma, addr, gbl_chg)
        if folio is None:
            spin_unlock_irq(hugetlb_lock)
            folio = alloc_buddy_hugetlb_folio_with_mpol(h, vma, addr)
            if folio is None:
                break
            spin_lock_irq(hugetlb_lock)
            if not cow_from_owner and vma_has_reserves(vma, gbl_chg):
                folio_set_hugetlb_restore_reserve(folio)
                h.resv_huge_pages = (h.resv_huge_pages - 1) & ULONG_MAX
            list_add(folio.lru, h.hugepage_activelist)
            folio_ref_unfreeze(folio, 1)
        hugetlb_cgroup_commit_charge(idx, pages_per_huge_page(h), h_cg, folio)
        if deferred_reserve:
            hugetlb_cgroup_commit_charge_rsvd(idx, pages_per_huge_page(h), h_cg_rsvd, folio)
        spin_unlock_irq(hugetlb_lock)
        hugetlb_set_folio_subpool(folio, spool)
        map_commit = vma_commit_reservation(h, vma, addr)
        if map_chg > map_commit:
            # hugetlb_reserve_pages() reserved this page meanwhile: take back what it added for it.
            rsv_adjust = hugepage_subpool_put_pages(spool, 1)
            hugetlb_acct_memory(h, -rsv_adjust)
            if deferred_reserve:
                spin_lock_irq(hugetlb_lock)
                hugetlb_cgroup_uncharge_folio_rsvd(hstate_index(h), pages_per_huge_page(h), folio)
                spin_unlock_irq(hugetlb_lock)
        if not memcg_charge_ret:
            mem_cgroup_commit_charge(folio, memcg)
        mem_cgroup_put(memcg)
        return folio
    if undo >= 3:
        hugetlb_cgroup_uncharge_cgroup(idx, pages_per_huge_page(h), h_cg)
    if undo >= 2 and deferred_reserve:
        hugetlb_cgroup_uncharge_cgroup_rsvd(idx, pages_per_huge_page(h), h_cg_rsvd)
    if undo >= 1 and (map_chg or cow_from_owner):
        hugepage_subpool_put_pages(spool, 1)
    vma_end_reservation(h, vma, addr)
    if not memcg_charge_ret:
        mem_cgroup_cancel_charge(memcg, nr_pages)
    mem_cgroup_put(memcg)
    return -ENOSPC
