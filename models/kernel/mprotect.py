# Fidelity: DUP
"""mprotect(2) (mm/mprotect.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.errno import EACCES, EINVAL, ENOMEM
from models.kernel.locks import down_write, up_write
from models.kernel.mman import PROT_EXEC, PROT_READ, PROT_WRITE
from models.kernel.port import ported
from models.kernel.structs import PAGE_SIZE, VM_EXEC, VM_READ, VM_SHARED, VM_WRITE

if TYPE_CHECKING:
    from models.hugetlb.protect import hugetlb_change_protection
    from models.kernel.machine import machine
    from models.kernel.mm import find_vma, find_vma_intersection, vma_modify_flags
    from models.kernel.structs import VmArea
    from models.kernel.vmfault import userfaultfd_wp


@ported("mm/vma.c", "vma_set_page_prot")
def vma_page_prot_write(vma: VmArea) -> bool:
    """Whether the page protection of the vma has the right to write: only shared ones do.

    Userfaultfd write protection takes it too, as every first write must be seen.
    """
    return vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE | VM_SHARED and not userfaultfd_wp(vma)


@ported("mm/mprotect.c", "change_protection")
def change_protection(vma: VmArea, start: int, end: int, cp_flags: int) -> int:
    """Change the entries of a part of a vma (bytes) to the vma's protection: base pages changed."""
    return hugetlb_change_protection(vma, start, end, vma_page_prot_write(vma), cp_flags)


@ported("mm/mprotect.c", "mprotect_fixup")
def mprotect_fixup(vma: VmArea, start: int, end: int, newflags: int) -> int:
    """Give a part of a vma (bytes) new flags, cutting it out: 0 or -errno."""
    mm = vma.vm_mm
    assert mm is not None
    if newflags == vma.vm_flags:
        return 0
    error = vma_modify_flags(mm, vma, start, end)
    if error:
        return error
    vma.vm_flags = newflags
    change_protection(vma, start, end, 0)
    return 0


@ported("mm/mprotect.c", "mprotect")
def sys_mprotect(start: int, length: int, prot: int) -> int:
    """mprotect(2) by the running task, in bytes: 0 or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    if start & (PAGE_SIZE - 1):
        return -EINVAL
    if not length:
        return 0
    end = start + (length + PAGE_SIZE - 1 & -PAGE_SIZE)

    down_write(mm.mmap_lock)
    vma = find_vma_intersection(mm, start, end)
    if vma is None or vma.vm_start > start:
        up_write(mm.mmap_lock)
        return -ENOMEM

    error = 0
    nstart = start
    tmp = vma.vm_start
    while vma is not None and vma.vm_start < end:
        if vma.vm_start != tmp:
            error = -ENOMEM
            break
        newflags = (
            (VM_READ if prot & PROT_READ else 0)
            | (VM_WRITE if prot & PROT_WRITE else 0)
            | (VM_EXEC if prot & PROT_EXEC else 0)
            | (vma.vm_flags & ~(VM_READ | VM_WRITE | VM_EXEC))
        )
        # The VM_MAY* bits are four places above what they allow.
        if newflags & ~(newflags >> 4) & (VM_READ | VM_WRITE | VM_EXEC):
            error = -EACCES
            break
        tmp = min(vma.vm_end, end)
        error = mprotect_fixup(vma, nstart, tmp, newflags)
        if error:
            break
        # Behind ``end`` if nothing had to change, so that nothing was cut.
        tmp = vma.vm_end
        nstart = tmp
        vma = find_vma(mm, tmp)

    if not error and tmp < end:
        error = -ENOMEM
    up_write(mm.mmap_lock)
    return error
