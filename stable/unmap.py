"""Unmapping in 6.12.117: the reservation comes back on the last unmap only (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import (
    HPAGE_RESV_UNMAPPED,
    huge_page_mask,
    huge_page_size,
    pages_per_huge_page,
)
from models.kernel.machine import bug_on, warn_on
from models.kernel.pgtable import PTE_MARKER_UFFD_WP, ZAP_FLAG_DROP_MARKER
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.hstate import hugetlb_lock
    from models.hugetlb.inline import (
        hstate_vma,
        hugetlb_count_sub,
        is_vm_hugetlb_page,
    )
    from models.hugetlb.vma_resv import (
        _vma_private_lock,
        set_vma_resv_flags,
        vma_add_reservation,
        vma_needs_reservation,
    )
    from models.kernel.locks import spin_lock_irq, spin_unlock, spin_unlock_irq
    from models.kernel.page import (
        folio_clear_hugetlb_restore_reserve,
        folio_mapped,
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
        tlb_remove_page_size,
    )
    from models.kernel.rmap import hugetlb_remove_rmap, i_mmap_assert_write_locked
    from models.kernel.structs import Folio, VmArea


@ported("mm/hugetlb.c", "__unmap_hugepage_range")
def _unmap_hugepage_range(
    tlb: MmuGather, vma: VmArea, start: int, end: int, ref_page: Folio | None, zap_flags: int
) -> None:
    """Unmap ``start`` to ``end`` (bytes, aligned to huge pages), or only ``ref_page`` in there.

    A reservation is put back for each page by itself, on its last unmap only.
    """
    mm = vma.vm_mm
    assert mm is not None
    assert vma.vm_file is not None
    h = hstate_vma(vma)
    sz = huge_page_size(h)

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

        spin_unlock(ptl)

        adjust_reservation = False

        spin_lock_irq(hugetlb_lock)
        if (
            not h.surplus_huge_pages
            and _vma_private_lock(vma)
            and not folio_mapped(page)
            and folio_test_anon(page)
        ):
            folio_set_hugetlb_restore_reserve(page)
            adjust_reservation = True
        spin_unlock_irq(hugetlb_lock)

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
