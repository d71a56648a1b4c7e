"""Moving the page table of a mapping (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import huge_page_size
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_vma
    from models.hugetlb.vma_resv import hugetlb_vma_lock_write, hugetlb_vma_unlock_write
    from models.kernel.locks import spin_lock, spin_unlock
    from models.kernel.pgtable import (
        huge_pte_alloc,
        huge_pte_clear,
        huge_pte_clear_uffd_wp,
        huge_pte_lock,
        huge_pte_lockptr,
        huge_pte_none,
        huge_ptep_get,
        huge_ptep_get_and_clear,
        hugetlb_walk,
        pte_marker_uffd_wp,
        set_huge_pte_at,
    )
    from models.kernel.rmap import i_mmap_lock_write, i_mmap_unlock_write
    from models.kernel.structs import PteSlot, VmArea


@ported("mm/hugetlb.c", "move_huge_pte")
def move_huge_pte(
    vma: VmArea, old_addr: int, new_addr: int, src_pte: PteSlot, dst_pte: PteSlot, sz: int
) -> None:
    """Move one entry; addresses in bytes.

    The new mapping is not registered with userfaultfd (contexts do not ask for
    UFFD_FEATURE_EVENT_REMAP), so that its write protection goes.
    """
    need_clear_uffd_wp = vma.uffd is not None
    h = hstate_vma(vma)
    mm = vma.vm_mm
    assert mm is not None

    dst_ptl = huge_pte_lock(h, mm, dst_pte)
    src_ptl = huge_pte_lockptr(h, mm, src_pte)
    if src_ptl is not dst_ptl:
        spin_lock(src_ptl)

    pte = huge_ptep_get_and_clear(mm, old_addr, src_pte, sz)

    if need_clear_uffd_wp and pte_marker_uffd_wp(pte):
        huge_pte_clear(mm, new_addr, dst_pte, sz)
    else:
        if need_clear_uffd_wp:
            pte = huge_pte_clear_uffd_wp(pte)
        set_huge_pte_at(mm, new_addr, dst_pte, pte, sz)

    if src_ptl is not dst_ptl:
        spin_unlock(src_ptl)
    spin_unlock(dst_ptl)


@ported("mm/hugetlb.c", "move_hugetlb_page_tables")
def move_hugetlb_page_tables(
    vma: VmArea, new_vma: VmArea, old_addr: int, new_addr: int, length: int
) -> int:
    """Move the entries of ``length`` bytes: how many bytes were moved."""
    h = hstate_vma(vma)
    assert vma.vm_file is not None
    assert vma.vm_mm is not None
    mapping = vma.vm_file.f_mapping
    sz = huge_page_size(h)
    mm = vma.vm_mm
    old_end = old_addr + length

    hugetlb_vma_lock_write(vma)
    i_mmap_lock_write(mapping)
    while old_addr < old_end:
        src_pte = hugetlb_walk(vma, old_addr, sz)
        if src_pte is not None and not huge_pte_none(huge_ptep_get(mm, old_addr, src_pte)):
            dst_pte = huge_pte_alloc(mm, new_vma, new_addr, sz)
            if dst_pte is None:
                break
            move_huge_pte(vma, old_addr, new_addr, src_pte, dst_pte, sz)
        old_addr += sz
        new_addr += sz
    i_mmap_unlock_write(mapping)
    hugetlb_vma_unlock_write(vma)

    return length + old_addr - old_end
