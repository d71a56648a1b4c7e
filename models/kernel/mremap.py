# Fidelity: DUP
"""mremap(2) (mm/mremap.c). Mappings of huge pages can move and shrink, but never grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import huge_page_mask, huge_page_size
from models.kernel.errno import EFAULT, EINVAL, ENOMEM, IS_ERR
from models.kernel.locks import down_write, up_write
from models.kernel.machine import bug_on
from models.kernel.mm import MAX_MAP_COUNT, TASK_SIZE
from models.kernel.mman import (
    MAP_FIXED,
    MAP_SHARED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from models.kernel.port import ported
from models.kernel.structs import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTEXPAND,
    VM_MAYSHARE,
    VM_SHARED,
    VmArea,
)

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_vma
    from models.hugetlb.move import move_hugetlb_page_tables
    from models.hugetlb.vma_resv import clear_vma_resv_huge_pages
    from models.kernel.fs import get_file
    from models.kernel.machine import machine
    from models.kernel.mempolicy import mpol_put, vma_dup_policy
    from models.kernel.mm import (
        do_munmap,
        do_vmi_munmap,
        find_vma_intersection,
        insert_vm_struct,
        vm_area_dup,
        vma_link_file,
        vma_lookup,
    )
    from models.kernel.rmap import anon_vma_clone
    from models.kernel.userfaultfd import mremap_userfaultfd_prep


@ported("mm/vma.c", "copy_vma")
def copy_vma(vma: VmArea, addr: int, length: int, pgoff: int) -> VmArea | None:
    """A copy of a vma for ``length`` bytes at ``addr``, mapping base page ``pgoff`` on, or None."""
    mm = vma.vm_mm
    assert mm is not None
    if find_vma_intersection(mm, addr, addr + length) is not None:
        return None
    new_vma = vm_area_dup(vma)
    if new_vma is None:
        return None
    new_vma.vm_start = addr
    new_vma.vm_end = addr + length
    new_vma.vm_pgoff = pgoff
    if vma_dup_policy(vma, new_vma):
        return None
    if anon_vma_clone(new_vma, vma):
        mpol_put(new_vma.vm_policy)
        return None
    if new_vma.vm_file is not None:
        get_file(new_vma.vm_file)
    if new_vma.vm_ops is not None:
        new_vma.vm_ops.open(new_vma)
    insert_vm_struct(mm, new_vma)
    vma_link_file(new_vma)
    return new_vma


@ported("mm/mremap.c", "move_vma")
def move_vma(vma: VmArea, old_addr: int, old_len: int, new_len: int, new_addr: int) -> int:
    """Move ``old_len`` bytes of a vma to ``new_addr``: the address or -errno.

    A reservation map that the new vma shares is given up by the whole old vma, also by the parts
    of it that stay.
    """
    mm = vma.vm_mm
    assert mm is not None
    err = 0
    split_before = vma.vm_start != old_addr
    split_after = vma.vm_end != old_addr + old_len

    if len(mm.vmas) >= MAX_MAP_COUNT - 3:
        return -ENOMEM

    if vma.vm_ops is not None:
        if split_before:
            err = vma.vm_ops.may_split(vma, old_addr)
        if not err and split_after:
            err = vma.vm_ops.may_split(vma, old_addr + old_len)
        if err:
            return err

    new_pgoff = vma.vm_pgoff + ((old_addr - vma.vm_start) >> PAGE_SHIFT)
    new_vma = copy_vma(vma, new_addr, new_len, new_pgoff)
    if new_vma is None:
        return -ENOMEM

    moved_len = move_hugetlb_page_tables(vma, new_vma, old_addr, new_addr, old_len)
    if moved_len < old_len:
        # Move back what was moved, and unmap the new area instead of the old.
        err = -ENOMEM
        if moved_len:
            move_hugetlb_page_tables(new_vma, vma, new_addr, old_addr, moved_len)
        vma = new_vma
        old_len = new_len
        old_addr = new_addr
        new_addr = err
    else:
        mremap_userfaultfd_prep(new_vma)

    clear_vma_resv_huge_pages(vma)

    # Without memory for a split the old mapping stays, as in the kernel.
    do_vmi_munmap(mm, old_addr, old_len)
    return new_addr


@ported("mm/mremap.c", "vma_to_resize")
def vma_to_resize(addr: int, old_len: int, new_len: int, flags: int) -> VmArea | int:
    """The vma of ``addr``, if it may be moved and resized (bytes), or -errno."""
    assert machine.current is not None
    vma = vma_lookup(machine.current.mm, addr)
    if vma is None:
        return -EFAULT
    if not old_len and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and vma.vm_flags & VM_DONTEXPAND:
        return -EINVAL
    if old_len > vma.vm_end - addr:
        return -EFAULT
    if new_len == old_len:
        return vma
    if vma.vm_flags & VM_DONTEXPAND:
        return -EFAULT
    bug_on(True, "vma_to_resize: a mapping of huge pages without VM_DONTEXPAND")
    return vma


@ported("mm/mremap.c", "mremap_to")
def mremap_to(addr: int, old_len: int, new_addr: int, new_len: int, flags: int) -> int:
    """Move a mapping to a given address (bytes): the address or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    if new_addr & (PAGE_SIZE - 1):
        return -EINVAL
    if new_len > TASK_SIZE or new_addr > TASK_SIZE - new_len:
        return -EINVAL
    if addr + old_len > new_addr and new_addr + new_len > addr:
        return -EINVAL
    if len(mm.vmas) + 2 >= MAX_MAP_COUNT - 3:
        return -ENOMEM

    if flags & MREMAP_FIXED:
        ret = do_munmap(mm, new_addr, new_len)
        if ret:
            return ret

    if old_len > new_len:
        ret = do_munmap(mm, addr + new_len, old_len - new_len)
        if ret:
            return ret
        old_len = new_len

    vma = vma_to_resize(addr, old_len, new_len, flags)
    if IS_ERR(vma):
        return vma

    map_flags = MAP_FIXED if flags & MREMAP_FIXED else 0
    if vma.vm_flags & VM_MAYSHARE:
        map_flags |= MAP_SHARED
    pgoff = vma.vm_pgoff + ((addr - vma.vm_start) >> PAGE_SHIFT)
    assert vma.vm_file is not None
    assert vma.vm_file.f_op is not None
    ret = vma.vm_file.f_op.get_unmapped_area(vma.vm_file, new_addr, new_len, pgoff, map_flags)
    if ret < 0:
        return ret
    return move_vma(vma, addr, old_len, new_len, new_addr)


@ported("mm/mremap.c", "mremap")
def sys_mremap(addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """mremap(2) by the running task, in bytes: the address or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    if flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP):
        return -EINVAL
    if flags & MREMAP_FIXED and not flags & MREMAP_MAYMOVE:
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and (not flags & MREMAP_MAYMOVE or old_len != new_len):
        return -EINVAL
    if addr & (PAGE_SIZE - 1):
        return -EINVAL
    old_len = old_len + PAGE_SIZE - 1 & -PAGE_SIZE
    new_len = new_len + PAGE_SIZE - 1 & -PAGE_SIZE
    if not new_len:
        return -EINVAL

    down_write(mm.mmap_lock)
    vma = vma_lookup(mm, addr)
    if vma is None:
        ret = -EFAULT
    else:
        h = hstate_vma(vma)
        size = huge_page_size(h)
        old_len = old_len + size - 1 & -size
        new_len = new_len + size - 1 & -size
        if addr & ~huge_page_mask(h) or new_addr & ~huge_page_mask(h):
            ret = -EINVAL
        elif new_len > old_len:
            # A reservation cannot be extended in two places.
            ret = -EINVAL
        elif flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
            ret = mremap_to(addr, old_len, new_addr, new_len, flags)
        elif old_len == new_len:
            ret = addr
        else:
            ret = do_vmi_munmap(mm, addr + new_len, old_len - new_len)
            if not ret:
                ret = addr
    up_write(mm.mmap_lock)
    return ret
