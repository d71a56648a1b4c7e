# Fidelity: DUP
"""madvise(2) (mm/madvise.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import huge_page_mask
from models.kernel.errno import EACCES, EAGAIN, EFAULT, EHWPOISON, EINTR, EINVAL, ENOMEM
from models.kernel.fs import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from models.kernel.locks import down_read, down_write, up_read, up_write
from models.kernel.mman import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_FREE,
    MADV_KEEPONFORK,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_REMOVE,
    MADV_WIPEONFORK,
)
from models.kernel.port import ported
from models.kernel.soft_offline import MADV_HWPOISON, MADV_SOFT_OFFLINE
from models.kernel.structs import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_LOCKED,
    VM_MAYWRITE,
    VM_SHARED,
    VM_WIPEONFORK,
)

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_vma
    from models.kernel.fs import fput, get_file, vfs_fallocate
    from models.kernel.gup import faultin_page_range
    from models.kernel.machine import machine
    from models.kernel.mm import find_vma, vma_modify_flags
    from models.kernel.soft_offline import madvise_inject_error
    from models.kernel.structs import MM, VmArea
    from models.kernel.zap import zap_page_range_single

#: Advice that changes no vma, so that mmap_lock is taken for reading.
READERS: Final = frozenset(
    {MADV_REMOVE, MADV_DONTNEED, MADV_FREE, MADV_POPULATE_READ, MADV_POPULATE_WRITE}
)
VALID: Final = READERS | {
    MADV_DONTFORK,
    MADV_DOFORK,
    MADV_WIPEONFORK,
    MADV_KEEPONFORK,
    MADV_HWPOISON,
    MADV_SOFT_OFFLINE,
}


@ported("mm/madvise.c", "madvise_dontneed_free")
def madvise_dontneed_free(vma: VmArea, start: int, end: int, behavior: int) -> int:
    """Drop the pages of ``start`` to ``end`` (bytes), whole huge pages only: 0 or -EINVAL."""
    if behavior != MADV_DONTNEED:
        return -EINVAL
    if start & ~huge_page_mask(hstate_vma(vma)):
        return -EINVAL
    end &= huge_page_mask(hstate_vma(vma))
    if start == end:
        return 0
    zap_page_range_single(vma, start, end - start, 0)
    return 0


@ported("mm/madvise.c", "madvise_populate")
def madvise_populate(mm: MM, start: int, end: int, behavior: int) -> int:
    """Fault in ``start`` to ``end`` (bytes): 0 or -errno."""
    while start < end:
        pages = faultin_page_range(mm, start, end, behavior == MADV_POPULATE_WRITE)
        if pages < 0:
            if pages in (-EINTR, -EINVAL, -EHWPOISON, -EFAULT):
                return pages
            return -ENOMEM
        start += pages * PAGE_SIZE
    return 0


@ported("mm/madvise.c", "madvise_remove")
def madvise_remove(vma: VmArea, start: int, end: int) -> int:
    """Punch a hole into the mapped file (bytes of address space): 0 or -errno."""
    mm = vma.vm_mm
    assert mm is not None
    if vma.vm_flags & VM_LOCKED:
        return -EINVAL
    f = vma.vm_file
    if f is None:
        return -EINVAL
    if vma.vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
        return -EACCES
    offset = (start - vma.vm_start) + (vma.vm_pgoff << PAGE_SHIFT)
    get_file(f)
    up_read(mm.mmap_lock)
    error = vfs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, end - start)
    fput(f)
    down_read(mm.mmap_lock)
    return error


@ported("mm/madvise.c", "madvise_vma_behavior")
def madvise_vma_behavior(vma: VmArea, start: int, end: int, behavior: int) -> int:
    """Apply the advice to a part of a vma (bytes): 0 or -errno."""
    mm = vma.vm_mm
    assert mm is not None
    new_flags = vma.vm_flags
    if behavior == MADV_REMOVE:
        return madvise_remove(vma, start, end)
    if behavior in (MADV_FREE, MADV_DONTNEED):
        return madvise_dontneed_free(vma, start, end, behavior)
    if behavior == MADV_DONTFORK:
        new_flags |= VM_DONTCOPY
    elif behavior == MADV_DOFORK:
        new_flags &= ~VM_DONTCOPY
    elif behavior == MADV_WIPEONFORK:
        # Only for memory without a file, which huge pages never are.
        if vma.vm_file is not None or vma.vm_flags & VM_SHARED:
            return -EINVAL
        new_flags |= VM_WIPEONFORK
    elif behavior == MADV_KEEPONFORK:
        new_flags &= ~VM_WIPEONFORK

    if new_flags == vma.vm_flags:
        return 0
    error = vma_modify_flags(mm, vma, start, end)
    if error:
        return -EAGAIN if error == -ENOMEM else error
    vma.vm_flags = new_flags
    return 0


@ported("mm/madvise.c", "madvise_walk_vmas")
def madvise_walk_vmas(mm: MM, start: int, end: int, behavior: int) -> int:
    """Apply the advice to every vma from ``start`` to ``end`` (bytes): 0 or -errno.

    Holes are passed over, but make the result -ENOMEM.
    """
    unmapped_error = 0
    vma = find_vma(mm, start)
    while True:
        if vma is None:
            return -ENOMEM
        if start < vma.vm_start:
            unmapped_error = -ENOMEM
            start = vma.vm_start
            if start >= end:
                break
        tmp = min(vma.vm_end, end)
        error = madvise_vma_behavior(vma, start, tmp, behavior)
        if error:
            return error
        start = tmp
        if start >= end:
            break
        vma = find_vma(mm, start)
    return unmapped_error


@ported("mm/madvise.c", "do_madvise")
def sys_madvise(start: int, len_in: int, behavior: int) -> int:
    """madvise(2) by the running task, in bytes: 0 or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    if behavior not in VALID:
        return -EINVAL
    if start & (PAGE_SIZE - 1):
        return -EINVAL
    length = len_in + PAGE_SIZE - 1 & -PAGE_SIZE
    end = start + length
    if end == start:
        return 0

    if behavior in (MADV_HWPOISON, MADV_SOFT_OFFLINE):
        return madvise_inject_error(behavior, start, start + len_in)

    if behavior in READERS:
        down_read(mm.mmap_lock)
    else:
        down_write(mm.mmap_lock)
    if behavior in (MADV_POPULATE_READ, MADV_POPULATE_WRITE):
        error = madvise_populate(mm, start, end, behavior)
    else:
        error = madvise_walk_vmas(mm, start, end, behavior)
    if behavior in READERS:
        up_read(mm.mmap_lock)
    else:
        up_write(mm.mmap_lock)
    return error
