# Fidelity: DUP
"""Copying an address space and taking one down (kernel/fork.c, mm/mmap.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.errno import ENOMEM
from models.kernel.locks import down_read, down_write, up_read, up_write
from models.kernel.port import ported
from models.kernel.structs import (
    MM,
    VM_DONTCOPY,
    VM_LOCKED,
    VM_WIPEONFORK,
)

if TYPE_CHECKING:
    from models.hugetlb.fork import copy_hugetlb_page_range
    from models.hugetlb.vma_resv import hugetlb_dup_vma_private
    from models.kernel.fs import get_file
    from models.kernel.mempolicy import mpol_put, vma_dup_policy
    from models.kernel.mm import insert_vm_struct, remove_vma, vm_area_dup
    from models.kernel.pgtable import tlb_finish_mmu, tlb_gather_mmu
    from models.kernel.rmap import (
        anon_vma_fork,
        i_mmap_lock_write,
        i_mmap_unlock_write,
        vma_interval_tree_insert_after,
    )
    from models.kernel.structs import VmArea
    from models.kernel.task import Task
    from models.kernel.userfaultfd import dup_userfaultfd
    from models.kernel.vmfault import userfaultfd_wp
    from models.kernel.zap import free_pgtables, unmap_vmas


@ported("mm/memory.c", "vma_needs_copy")
def vma_needs_copy(dst_vma: VmArea, src_vma: VmArea) -> bool:
    """Whether a child needs the parent's page table of a mapping: faults can fill the others."""
    if userfaultfd_wp(dst_vma):
        return True
    return src_vma.anon_vma is not None


@ported("mm/memory.c", "copy_page_range")
def copy_page_range(dst_vma: VmArea, src_vma: VmArea) -> int:
    """Copy the page table of a mapping if the child needs it: 0 or -errno."""
    if not vma_needs_copy(dst_vma, src_vma):
        return 0
    assert dst_vma.vm_mm is not None
    assert src_vma.vm_mm is not None
    return copy_hugetlb_page_range(dst_vma.vm_mm, src_vma.vm_mm, dst_vma, src_vma)


@ported("kernel/fork.c", "dup_mmap")
def dup_mmap(mm: MM, oldmm: MM) -> int:
    """Copy all mappings of a parent: 0 or -errno.

    On an error the child has the mappings that came before it, and the failed one if only its
    pages could not be copied.
    """
    retval = 0
    down_write(oldmm.mmap_lock)
    down_write(mm.mmap_lock)

    for mpnt in oldmm.vmas:
        if mpnt.vm_flags & VM_DONTCOPY:
            continue
        tmp = vm_area_dup(mpnt)
        if tmp is None:
            retval = -ENOMEM
            break
        # mpol_dup() fails only without memory.
        retval = vma_dup_policy(mpnt, tmp)
        if retval:
            retval = -ENOMEM
            break
        tmp.vm_mm = mm
        dup_userfaultfd(tmp)
        if tmp.vm_flags & VM_WIPEONFORK:
            # An anon_vma comes with the first fault, as no page is copied.
            tmp.anon_vma = None
        elif anon_vma_fork(tmp, mpnt):
            mpol_put(tmp.vm_policy)
            retval = -ENOMEM
            break
        tmp.vm_flags &= ~VM_LOCKED
        hugetlb_dup_vma_private(tmp)

        insert_vm_struct(mm, tmp)

        if tmp.vm_ops is not None:
            tmp.vm_ops.open(tmp)

        file = tmp.vm_file
        if file is not None:
            mapping = file.f_mapping
            get_file(file)
            i_mmap_lock_write(mapping)
            vma_interval_tree_insert_after(tmp, mpnt, mapping)
            i_mmap_unlock_write(mapping)

        if not tmp.vm_flags & VM_WIPEONFORK:
            retval = copy_page_range(tmp, mpnt)
        if retval:
            break

    up_write(mm.mmap_lock)
    up_write(oldmm.mmap_lock)
    return retval


@ported("kernel/fork.c", "copy_mm")
def copy_mm(parent: Task, child: Task) -> int:
    """Give a child a copy of its parent's address space: 0 or -ENOMEM."""
    mm = MM()
    mm.owner = child
    if dup_mmap(mm, parent.mm):
        exit_mmap(mm)
        return -ENOMEM
    child.mm = mm
    return 0


@ported("mm/mmap.c", "exit_mmap")
def exit_mmap(mm: MM) -> None:
    """Unmap everything, free the page tables, then close the vmas one by one."""
    down_read(mm.mmap_lock)
    if not mm.vmas:
        # Also after a fork that failed at once.
        up_read(mm.mmap_lock)
        down_write(mm.mmap_lock)
        up_write(mm.mmap_lock)
        return

    tlb = tlb_gather_mmu(mm)
    unmap_vmas(tlb, mm.vmas, 0, 1 << 64)
    up_read(mm.mmap_lock)

    down_write(mm.mmap_lock)
    free_pgtables(tlb, mm.vmas)
    tlb_finish_mmu(tlb)
    vmas = mm.vmas
    mm.vmas = []
    for vma in vmas:
        remove_vma(vma)
    up_write(mm.mmap_lock)
