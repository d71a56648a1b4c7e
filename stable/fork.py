"""Fork in 6.12.117: a copy that fails gives its reservation back (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import huge_page_size, pages_per_huge_page
from models.kernel.errno import ENOMEM, IS_ERR
from models.kernel.pgtable import MIGRATION, MIGRATION_EXCLUSIVE
from models.kernel.port import ported
from models.kernel.structs import PTE_NONE

if TYPE_CHECKING:
    from models.hugetlb.fork import copy_pte_marker, hugetlb_install_folio, is_cow_mapping
    from models.hugetlb.inline import hstate_vma, hugetlb_count_add
    from models.hugetlb.vma_resv import (
        hugetlb_vma_lock_read,
        hugetlb_vma_unlock_read,
        restore_reserve_on_error,
    )
    from models.kernel.locks import spin_lock, spin_unlock
    from models.kernel.page import (
        copy_user_large_folio,
        folio_get,
        folio_put,
        folio_test_anon,
    )
    from models.kernel.pgtable import (
        huge_pte_alloc,
        huge_pte_clear_uffd_wp,
        huge_pte_lock,
        huge_pte_lockptr,
        huge_pte_none,
        huge_pte_wrprotect,
        huge_ptep_get,
        huge_ptep_set_wrprotect,
        hugetlb_walk,
        is_hugetlb_entry_hwpoisoned,
        is_hugetlb_entry_migration,
        is_pte_marker,
        pte_same,
        set_huge_pte_at,
    )
    from models.kernel.rmap import (
        hugetlb_add_file_rmap,
        hugetlb_try_dup_anon_rmap,
    )
    from models.kernel.structs import MM, VmArea
    from models.kernel.vmfault import userfaultfd_wp
    from stable.alloc_cgroup import alloc_hugetlb_folio


@ported("mm/hugetlb.c", "copy_hugetlb_page_range")
def copy_hugetlb_page_range(dst: MM, src: MM, dst_vma: VmArea, src_vma: VmArea) -> int:
    """Give the child's mapping the parent's pages; 0 or -errno.

    Pages of private mappings become read-only on both sides, and pinned ones are copied at once,
    without using reserves.
    """
    cow = is_cow_mapping(src_vma.vm_flags)
    h = hstate_vma(src_vma)
    sz = huge_page_size(h)
    npages = pages_per_huge_page(h)
    ret = 0

    if not cow:
        # Under the vma lock nobody unshares a table of the parent's.
        hugetlb_vma_lock_read(src_vma)

    for addr in range(src_vma.vm_start, src_vma.vm_end, sz):
        src_pte = hugetlb_walk(src_vma, addr, sz)
        if src_pte is None:
            continue
        dst_pte = huge_pte_alloc(dst, dst_vma, addr, sz)
        if dst_pte is None:
            ret = -ENOMEM
            break

        dst_ptl = huge_pte_lock(h, dst, dst_pte)
        src_ptl = huge_pte_lockptr(h, src, src_pte)
        spin_lock(src_ptl)
        entry = huge_ptep_get(src, addr, src_pte)
        locked = True
        while True:  # again
            if huge_pte_none(entry):
                pass
            elif is_hugetlb_entry_hwpoisoned(entry):
                # Such an entry never carries userfaultfd write protection.
                set_huge_pte_at(dst, addr, dst_pte, entry, sz)
            elif is_hugetlb_entry_migration(entry):
                uffd_wp = entry.uffd_wp
                if (entry.write or entry.special == MIGRATION_EXCLUSIVE) and cow:
                    # Pages of both must become read-only.
                    entry = entry._replace(
                        write=False,
                        uffd_wp=userfaultfd_wp(src_vma) and uffd_wp,
                        special=MIGRATION,
                    )
                    set_huge_pte_at(src, addr, src_pte, entry, sz)
                if not userfaultfd_wp(dst_vma):
                    entry = huge_pte_clear_uffd_wp(entry)
                set_huge_pte_at(dst, addr, dst_pte, entry, sz)
            elif is_pte_marker(entry):
                marker = copy_pte_marker(entry, dst_vma)
                if marker is not PTE_NONE:
                    set_huge_pte_at(dst, addr, dst_pte, marker, sz)
            else:
                entry = huge_ptep_get(src, addr, src_pte)
                pte_folio = entry.folio
                assert pte_folio is not None
                folio_get(pte_folio)

                if not folio_test_anon(pte_folio):
                    hugetlb_add_file_rmap(pte_folio)
                elif hugetlb_try_dup_anon_rmap(pte_folio, src_vma):
                    # Pinned: copy now, without the locks of the page tables.
                    src_pte_old = entry

                    spin_unlock(src_ptl)
                    spin_unlock(dst_ptl)
                    locked = False
                    new_folio = alloc_hugetlb_folio(dst_vma, addr, False)
                    if IS_ERR(new_folio):
                        folio_put(pte_folio)
                        ret = new_folio
                        break
                    ret = copy_user_large_folio(new_folio, pte_folio, addr, dst_vma)
                    folio_put(pte_folio)
                    if ret:
                        restore_reserve_on_error(h, dst_vma, addr, new_folio)
                        folio_put(new_folio)
                        break

                    # Install the copy if the parent's entry is still the same.
                    dst_ptl = huge_pte_lock(h, dst, dst_pte)
                    src_ptl = huge_pte_lockptr(h, src, src_pte)
                    spin_lock(src_ptl)
                    locked = True
                    entry = huge_ptep_get(src, addr, src_pte)
                    if not pte_same(src_pte_old, entry):
                        restore_reserve_on_error(h, dst_vma, addr, new_folio)
                        folio_put(new_folio)
                        continue
                    hugetlb_install_folio(dst_vma, dst_pte, addr, new_folio, src_pte_old, sz)
                    break

                if cow:
                    huge_ptep_set_wrprotect(src, addr, src_pte)
                    entry = huge_pte_wrprotect(entry)

                if not userfaultfd_wp(dst_vma):
                    entry = huge_pte_clear_uffd_wp(entry)

                set_huge_pte_at(dst, addr, dst_pte, entry, sz)
                hugetlb_count_add(npages, dst)
            break
        if ret:
            break
        if locked:
            spin_unlock(src_ptl)
            spin_unlock(dst_ptl)

    if not cow:
        hugetlb_vma_unlock_read(src_vma)

    return ret
