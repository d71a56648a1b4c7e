"""Splits in 6.12.117: shared tables are unshared in the middle of it (mm/hugetlb.c, mm/vma.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import huge_page_mask, huge_page_size
from models.kernel.errno import EINVAL, ENOMEM
from models.kernel.machine import warn_on
from models.kernel.pgtable import PUD_MASK, PUD_SIZE
from models.kernel.port import ported
from models.kernel.structs import PAGE_SHIFT, VM_MAYSHARE

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_vma
    from models.hugetlb.vma_resv import hugetlb_vma_lock_write, hugetlb_vma_unlock_write
    from models.kernel.fs import get_file
    from models.kernel.locks import spin_unlock
    from models.kernel.mempolicy import mpol_put, vma_dup_policy
    from models.kernel.mm import insert_vm_struct, vm_area_dup
    from models.kernel.pgtable import huge_pte_lock, hugetlb_walk
    from models.kernel.rmap import (
        anon_vma_clone,
        i_mmap_assert_write_locked,
        i_mmap_lock_write,
        i_mmap_unlock_write,
        vma_interval_tree_insert,
        vma_interval_tree_remove,
    )
    from models.kernel.structs import MM, VmArea


@ported("mm/hugetlb.c", "hugetlb_vm_op_split")
def hugetlb_vm_op_split(vma: VmArea, addr: int) -> int:
    """Whether the mapping may be split at ``addr`` (bytes): 0, or -EINVAL inside a huge page."""
    if addr & ~huge_page_mask(hstate_vma(vma)):
        return -EINVAL
    return 0


@ported("mm/hugetlb.c", "hugetlb_unshare_pmds")
def hugetlb_unshare_pmds(vma: VmArea, start: int, end: int, take_locks: bool) -> None:
    """Look for shared tables from ``start`` to ``end`` (bytes), under the locks that are named.

    Tables are never shared here, so that nothing is found.
    """
    h = hstate_vma(vma)
    sz = huge_page_size(h)

    if not vma.vm_flags & VM_MAYSHARE:
        return
    if start >= end:
        return

    assert vma.vm_file is not None
    assert vma.vm_mm is not None
    mapping = vma.vm_file.f_mapping
    if take_locks:
        hugetlb_vma_lock_write(vma)
        i_mmap_lock_write(mapping)
    else:
        i_mmap_assert_write_locked(mapping)
    for address in range(start, end, PUD_SIZE):
        ptep = hugetlb_walk(vma, address, sz)
        if ptep is None:
            continue
        ptl = huge_pte_lock(h, vma.vm_mm, ptep)
        spin_unlock(ptl)
    if take_locks:
        i_mmap_unlock_write(mapping)
        hugetlb_vma_unlock_write(vma)


@ported("mm/hugetlb.c", "hugetlb_unshare_all_pmds")
def hugetlb_unshare_all_pmds(vma: VmArea) -> None:
    """Unshare every table that the mapping has for itself."""
    start, end = -(-vma.vm_start // PUD_SIZE) * PUD_SIZE, vma.vm_end & PUD_MASK
    hugetlb_unshare_pmds(vma, start, end, True)


@ported("mm/hugetlb.c", "hugetlb_split")
def hugetlb_split(vma: VmArea, addr: int) -> None:
    """Unshare the tables around ``addr`` (bytes) in the middle of a split, whose locks are held."""
    assert vma.vm_file is not None
    i_mmap_assert_write_locked(vma.vm_file.f_mapping)

    if addr & ~PUD_MASK:
        floor = addr & PUD_MASK
        ceil = floor + PUD_SIZE
        if floor >= vma.vm_start and ceil <= vma.vm_end:
            hugetlb_unshare_pmds(vma, floor, ceil, False)


@ported("mm/vma.c", "__split_vma")
def _split_vma(mm: MM, vma: VmArea, addr: int, new_below: bool) -> int:
    """Cut a vma in two at ``addr`` (bytes): 0 or -errno.

    The new vma is the lower part if ``new_below``, else the upper one.
    """
    warn_on(vma.vm_start >= addr, "__split_vma: vma->vm_start >= addr")
    warn_on(vma.vm_end <= addr, "__split_vma: vma->vm_end <= addr")

    if vma.vm_ops is not None:
        err = vma.vm_ops.may_split(vma, addr)
        if err:
            return err

    new = vm_area_dup(vma)
    if new is None:
        return -ENOMEM

    if new_below:
        new.vm_end = addr
    else:
        new.vm_start = addr
        new.vm_pgoff += (addr - vma.vm_start) >> PAGE_SHIFT

    err = vma_dup_policy(vma, new)
    if err:
        return err

    err = anon_vma_clone(new, vma)
    if err:
        mpol_put(new.vm_policy)
        return err

    if new.vm_file is not None:
        get_file(new.vm_file)

    if new.vm_ops is not None:
        new.vm_ops.open(new)

    mapping = None if vma.vm_file is None else vma.vm_file.f_mapping
    if mapping is not None:
        i_mmap_lock_write(mapping)
        vma_interval_tree_insert(new, mapping)
        vma_interval_tree_remove(vma, mapping)

    hugetlb_split(vma, addr)

    if new_below:
        vma.vm_start = addr
        vma.vm_pgoff += (addr - new.vm_start) >> PAGE_SHIFT
    else:
        vma.vm_end = addr

    if mapping is not None:
        vma_interval_tree_insert(vma, mapping)
    insert_vm_struct(mm, new)
    if mapping is not None:
        i_mmap_unlock_write(mapping)
    return 0
