"""Taking huge pages out of page tables (mm/hugetlb.c).

Tables are never shared between processes here, so huge_pmd_unshare and what widens a range for it
have no counterpart; neither have the notifiers and the flushing of TLBs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import (
    HPAGE_RESV_UNMAPPED,
    huge_page_mask,
    huge_page_size,
    pages_per_huge_page,
)
from models.kernel.machine import bug_on, warn_on
from models.kernel.pgtable import PTE_MARKER_UFFD_WP, ZAP_FLAG_DROP_MARKER, ZAP_FLAG_UNMAP
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.inline import (
        hstate_vma,
        hugetlb_count_sub,
        is_vm_hugetlb_page,
    )
    from models.hugetlb.vma_resv import (
        _hugetlb_vma_unlock_write_free,
        _vma_private_lock,
        hugetlb_vma_lock_write,
        hugetlb_vma_unlock_write,
        set_vma_resv_flags,
        vma_add_reservation,
        vma_needs_reservation,
    )
    from models.kernel.locks import spin_unlock
    from models.kernel.page import (
        folio_clear_hugetlb_restore_reserve,
        folio_set_hugetlb_restore_reserve,
        folio_test_anon,
        set_page_dirty,
    )
    from models.kernel.pgtable import (
        MmuGather,
        huge_pte_clear,
        huge_pte_dirty,
        huge_pte_lock,
        huge_pte_none,
        huge_pte_uffd_wp,
        huge_ptep_get,
        huge_ptep_get_and_clear,
        hugetlb_walk,
        pte_present,
        pte_swp_uffd_wp_any,
        set_huge_pte_at,
        tlb_finish_mmu,
        tlb_gather_mmu,
        tlb_remove_page_size,
    )
    from models.kernel.rmap import (
        hugetlb_remove_rmap,
        i_mmap_assert_write_locked,
        i_mmap_lock_write,
        i_mmap_unlock_write,
    )
    from models.kernel.structs import Folio, VmArea


@ported("mm/hugetlb.c", "__unmap_hugepage_range")
def _unmap_hugepage_range(
    tlb: MmuGather, vma: VmArea, start: int, end: int, ref_page: Folio | None, zap_flags: int
) -> None:
    """Unmap ``start`` to ``end`` (bytes, aligned to huge pages), or only ``ref_page`` in there.

    Once a page of this call asked for its reservation to be put back, the request stays made for
    the later pages.
    """
    mm = vma.vm_mm
    assert mm is not None
    assert vma.vm_file is not None
    h = hstate_vma(vma)
    sz = huge_page_size(h)
    adjust_reservation = False

    i_mmap_assert_write_locked(vma.vm_file.f_mapping)
    warn_on(not is_vm_hugetlb_page(vma), "__unmap_hugepage_range: !is_vm_hugetlb_page(vma)")
    bug_on(start & ~huge_page_mask(h), "__unmap_hugepage_range: start & ~huge_page_mask(h)")
    bug_on(end & ~huge_page_mask(h), "__unmap_hugepage_range: end & ~huge_page_mask(h)")

    for address in range(start, end, sz):
        ptep = hugetlb_walk(vma, address, sz)
        if ptep is None:
            continue

        ptl = huge_pte_lock(h, mm, ptep)
        pte = huge_ptep_get(mm, address, ptep)
        if huge_pte_none(pte):
            spin_unlock(ptl)
            continue

        # A page that is migrating or poisoned is unmapped already: only the entry is left.
        if not pte_present(pte):
            if pte_swp_uffd_wp_any(pte) and not zap_flags & ZAP_FLAG_DROP_MARKER:
                set_huge_pte_at(mm, address, ptep, PTE_MARKER_UFFD_WP, sz)
            else:
                huge_pte_clear(mm, address, ptep, sz)
            spin_unlock(ptl)
            continue

        page = pte.folio
        assert page is not None
        if ref_page is not None:
            if page is not ref_page:
                spin_unlock(ptl)
                continue
            # Later faults in this vma must fail rather than find a page of zeroes.
            set_vma_resv_flags(vma, HPAGE_RESV_UNMAPPED)

        pte = huge_ptep_get_and_clear(mm, address, ptep, sz)
        if huge_pte_dirty(pte):
            set_page_dirty(page)
        if huge_pte_uffd_wp(pte) and not zap_flags & ZAP_FLAG_DROP_MARKER:
            set_huge_pte_at(mm, address, ptep, PTE_MARKER_UFFD_WP, sz)
        hugetlb_count_sub(pages_per_huge_page(h), mm)
        hugetlb_remove_rmap(page)

        # surplus_huge_pages is read without hugetlb_lock.
        if not h.surplus_huge_pages and _vma_private_lock(vma) and folio_test_anon(page):
            folio_set_hugetlb_restore_reserve(page)
            adjust_reservation = True

        spin_unlock(ptl)

        if adjust_reservation:
            rc = vma_needs_reservation(h, vma, address)
            if rc < 0:
                # No region could be allocated: act as if the reservation was consumed.
                folio_clear_hugetlb_restore_reserve(page)
            elif rc:
                vma_add_reservation(h, vma, address)

        tlb_remove_page_size(tlb, page, huge_page_size(h))
        if ref_page is not None:
            break


@ported("mm/hugetlb.c", "__hugetlb_zap_begin")
def _hugetlb_zap_begin(vma: VmArea) -> None:
    """Take the locks of a zap."""
    if vma.vm_file is None:
        return
    hugetlb_vma_lock_write(vma)
    if vma.vm_file is not None:
        i_mmap_lock_write(vma.vm_file.f_mapping)


@ported("mm/hugetlb.c", "__hugetlb_zap_end")
def _hugetlb_zap_end(vma: VmArea, zap_flags: int) -> None:
    """Release the locks of a zap; the final one frees the vma lock."""
    if vma.vm_file is None:
        return
    if zap_flags & ZAP_FLAG_UNMAP:
        # The vma lock goes before i_mmap_rwsem, so that nobody shares tables of this vma any more.
        _hugetlb_vma_unlock_write_free(vma)
    else:
        hugetlb_vma_unlock_write(vma)
    if vma.vm_file is not None:
        i_mmap_unlock_write(vma.vm_file.f_mapping)


@ported("mm/hugetlb.c", "unmap_hugepage_range")
def unmap_hugepage_range(
    vma: VmArea, start: int, end: int, ref_page: Folio | None, zap_flags: int
) -> None:
    """Unmap ``start`` to ``end`` (bytes), or only ``ref_page`` in there, and free what is left."""
    tlb = tlb_gather_mmu(vma.vm_mm)
    _unmap_hugepage_range(tlb, vma, start, end, ref_page, zap_flags)
    tlb_finish_mmu(tlb)
