"""Changing the protection of huge pages (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import huge_page_size
from models.kernel.errno import ENOMEM
from models.kernel.machine import bug_on
from models.kernel.pgtable import (
    MIGRATION,
    MIGRATION_EXCLUSIVE,
    PTE_MARKER_UFFD_WP,
)
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_vma
    from models.hugetlb.vma_resv import hugetlb_vma_lock_write, hugetlb_vma_unlock_write
    from models.kernel.locks import spin_unlock
    from models.kernel.page import folio_test_anon
    from models.kernel.pgtable import (
        huge_pte_alloc,
        huge_pte_clear,
        huge_pte_clear_uffd_wp,
        huge_pte_lock,
        huge_pte_mkuffd_wp,
        huge_pte_none,
        huge_ptep_get,
        hugetlb_walk,
        is_hugetlb_entry_hwpoisoned,
        is_hugetlb_entry_migration,
        is_pte_marker,
        pte_marker_uffd_wp,
        pte_same,
        set_huge_pte_at,
    )
    from models.kernel.rmap import i_mmap_lock_write, i_mmap_unlock_write
    from models.kernel.structs import Pte, VmArea

MM_CP_UFFD_WP: Final = 1 << 2
MM_CP_UFFD_WP_RESOLVE: Final = 1 << 3


@ported("include/asm-generic/hugetlb.h", "huge_pte_modify")
def huge_pte_modify(pte: Pte, newprot_write: bool) -> Pte:
    """The entry with another protection; what was written and accessed stays known."""
    return pte if pte.write == newprot_write else pte._replace(write=newprot_write)


@ported("mm/hugetlb.c", "hugetlb_change_protection")
def hugetlb_change_protection(
    vma: VmArea, address: int, end: int, newprot_write: bool, cp_flags: int
) -> int:
    """Change the entries of ``address`` to ``end`` (bytes): base pages changed, or -ENOMEM.

    Of a protection only the right to write shows in an entry here; ``newprot_write`` is that of
    the vma's page protection, which private mappings never have.
    """
    mm = vma.vm_mm
    assert mm is not None
    assert vma.vm_file is not None
    h = hstate_vma(vma)
    psize = huge_page_size(h)
    pages = 0
    uffd_wp = cp_flags & MM_CP_UFFD_WP != 0
    uffd_wp_resolve = cp_flags & MM_CP_UFFD_WP_RESOLVE != 0

    bug_on(address >= end, "hugetlb_change_protection: address >= end")

    hugetlb_vma_lock_write(vma)
    i_mmap_lock_write(vma.vm_file.f_mapping)
    for at in range(address, end, psize):
        ptep = hugetlb_walk(vma, at, psize)
        if ptep is None:
            if not uffd_wp:
                continue
            # Write protection of what is not there yet needs a table to put a marker into.
            ptep = huge_pte_alloc(mm, vma, at, psize)
            if ptep is None:
                pages = -ENOMEM
                break
        ptl = huge_pte_lock(h, mm, ptep)
        pte = huge_ptep_get(mm, at, ptep)
        if is_hugetlb_entry_hwpoisoned(pte):
            pass
        elif is_hugetlb_entry_migration(pte):
            newpte = pte
            if pte.write:
                assert pte.folio is not None
                special = MIGRATION_EXCLUSIVE if folio_test_anon(pte.folio) else MIGRATION
                # Whether it was accessed and written stays in the entry; write protection by
                # userfaultfd does not.
                newpte = pte._replace(write=False, uffd_wp=False, special=special)
                pages += 1
            if uffd_wp:
                newpte = newpte._replace(uffd_wp=True)
            elif uffd_wp_resolve:
                newpte = newpte._replace(uffd_wp=False)
            if not pte_same(pte, newpte):
                set_huge_pte_at(mm, at, ptep, newpte, psize)
        elif is_pte_marker(pte):
            if pte_marker_uffd_wp(pte) and uffd_wp_resolve:
                huge_pte_clear(mm, at, ptep, psize)
        elif not huge_pte_none(pte):
            pte = huge_pte_modify(pte, newprot_write)
            if uffd_wp:
                pte = huge_pte_mkuffd_wp(pte)
            elif uffd_wp_resolve:
                pte = huge_pte_clear_uffd_wp(pte)
            set_huge_pte_at(mm, at, ptep, pte, psize)
            pages += 1
        elif uffd_wp:
            set_huge_pte_at(mm, at, ptep, PTE_MARKER_UFFD_WP, psize)
        spin_unlock(ptl)

    i_mmap_unlock_write(vma.vm_file.f_mapping)
    hugetlb_vma_unlock_write(vma)

    return pages << h.order if pages > 0 else pages
