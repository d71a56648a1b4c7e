# Fidelity: DUP
"""Address spaces: finding, splitting, mapping and unmapping vmas (mm/vma.c, mm/mmap.c).

hugetlbfs sets VM_DONTEXPAND on its vmas, which keeps them from ever being merged, so that merging
has no counterpart here. Vmas are a list by rising address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.inode import HUGETLB_ANONHUGE_INODE
from models.hugetlb.structs import huge_page_size
from models.kernel.errno import (
    EACCES,
    EBADF,
    EEXIST,
    EINVAL,
    ENOMEM,
    EOVERFLOW,
    IS_ERR,
)
from models.kernel.fs import FMODE_READ, FMODE_WRITE
from models.kernel.locks import down_write, up_write
from models.kernel.machine import Unmodelled, inject, warn_on
from models.kernel.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_HUGE_MASK,
    MAP_HUGE_SHIFT,
    MAP_HUGETLB,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_TYPE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from models.kernel.port import ported
from models.kernel.structs import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_EXEC,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    VmArea,
)

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_file
    from models.hugetlb.inode import hstate_sizelog, hugetlb_file_setup
    from models.kernel.fs import call_mmap, fget, fput, get_file
    from models.kernel.gup import mm_populate
    from models.kernel.machine import machine
    from models.kernel.mempolicy import mpol_put, vma_dup_policy
    from models.kernel.pgtable import tlb_finish_mmu, tlb_gather_mmu
    from models.kernel.rmap import (
        anon_vma_clone,
        i_mmap_lock_write,
        i_mmap_unlock_write,
        vma_interval_tree_insert,
        vma_interval_tree_remove,
    )
    from models.kernel.structs import MM, File
    from models.kernel.zap import free_pgtables, unmap_vmas

TASK_SIZE: Final = (1 << 47) - PAGE_SIZE
#: sysctl vm.max_map_count as it comes.
MAX_MAP_COUNT: Final = 65530


@ported("mm/mmap.c", "find_vma")
def find_vma(mm: MM, addr: int) -> VmArea | None:
    """The first vma that ends behind ``addr`` (bytes), or None."""
    for vma in mm.vmas:
        if vma.vm_end > addr:
            return vma
    return None


@ported("include/linux/mm.h", "vma_lookup")
def vma_lookup(mm: MM, addr: int) -> VmArea | None:
    """The vma that ``addr`` (bytes) is in, or None."""
    for vma in mm.vmas:
        if vma.vm_start <= addr < vma.vm_end:
            return vma
    return None


@ported("mm/mmap.c", "find_vma_intersection")
def find_vma_intersection(mm: MM, start_addr: int, end_addr: int) -> VmArea | None:
    """The first vma that overlaps ``start_addr`` to ``end_addr`` (bytes), or None."""
    for vma in mm.vmas:
        if vma.vm_end > start_addr:
            return vma if vma.vm_start < end_addr else None
    return None


@ported("include/linux/mm.h", "vma_is_accessible")
def vma_is_accessible(vma: VmArea) -> bool:
    """Whether the vma may be read, written or executed at all."""
    return vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC) != 0


@ported("mm/mmap.c", "insert_vm_struct")
def insert_vm_struct(mm: MM, vma: VmArea) -> None:
    """Put a vma into the address space's list, by address."""
    at = len(mm.vmas)
    while at and mm.vmas[at - 1].vm_start > vma.vm_start:
        at -= 1
    mm.vmas.insert(at, vma)


@ported("kernel/fork.c", "vm_area_dup")
def vm_area_dup(orig: VmArea) -> VmArea | None:
    """A copy of a vma that is on no list yet; None without memory."""
    if inject("kmalloc_vma"):
        return None
    new = VmArea(orig.vm_mm, orig.vm_start, orig.vm_end, orig.vm_flags)
    new.vm_pgoff = orig.vm_pgoff
    new.vm_file = orig.vm_file
    new.vm_ops = orig.vm_ops
    new.vm_private_data = orig.vm_private_data
    new.vm_private_flags = orig.vm_private_flags
    new.vm_policy = orig.vm_policy
    new.anon_vma = orig.anon_vma
    new.uffd = orig.uffd
    new.name = orig.name
    return new


# ---- the file's list of vmas ----


@ported("mm/vma.c", "vma_link_file")
def vma_link_file(vma: VmArea) -> None:
    """Put a vma on its file's list."""
    if vma.vm_file is not None:
        mapping = vma.vm_file.f_mapping
        i_mmap_lock_write(mapping)
        vma_interval_tree_insert(vma, mapping)
        i_mmap_unlock_write(mapping)


@ported("mm/vma.c", "unlink_file_vma")
def unlink_file_vma(vma: VmArea) -> None:
    """Take a vma off its file's list."""
    if vma.vm_file is not None:
        mapping = vma.vm_file.f_mapping
        i_mmap_lock_write(mapping)
        vma_interval_tree_remove(vma, mapping)
        i_mmap_unlock_write(mapping)


# ---- split ----


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


@ported("mm/vma.c", "split_vma")
def split_vma(mm: MM, vma: VmArea, addr: int, new_below: bool) -> int:
    """Cut a vma in two at ``addr`` (bytes) unless the process has too many: 0 or -errno."""
    if len(mm.vmas) >= MAX_MAP_COUNT:
        return -ENOMEM
    return _split_vma(mm, vma, addr, new_below)


@ported("mm/vma.c", "vma_modify_flags")
def vma_modify_flags(mm: MM, vma: VmArea, start: int, end: int) -> int:
    """Cut a vma down to ``start`` to ``end`` (bytes) before its flags change: 0 or -errno."""
    if vma.vm_start < start:
        err = split_vma(mm, vma, start, True)
        if err:
            return err
    if vma.vm_end > end:
        err = split_vma(mm, vma, end, False)
        if err:
            return err
    return 0


# ---- munmap ----


@ported("mm/vma.c", "remove_vma")
def remove_vma(vma: VmArea) -> None:
    """Close a vma that is on no list any more, and drop what it holds."""
    if vma.vm_ops is not None:
        vma.vm_ops.close(vma)
    if vma.vm_file is not None:
        fput(vma.vm_file)
    mpol_put(vma.vm_policy)


@ported("mm/vma.c", "vms_gather_munmap_vmas")
def vms_gather_munmap_vmas(mm: MM, vma: VmArea, start: int, end: int) -> list[VmArea] | int:
    """Cut out and collect the vmas from ``start`` to ``end`` (bytes), or -errno.

    A split that was done stays done when a later one fails.
    """
    if start > vma.vm_start:
        if end < vma.vm_end and len(mm.vmas) >= MAX_MAP_COUNT:
            return -ENOMEM
        error = _split_vma(mm, vma, start, True)
        if error:
            return error

    detach: list[VmArea] = []
    for following in list(mm.vmas):
        if following.vm_end <= start:
            continue
        if following.vm_start >= end:
            break
        if following.vm_end > end:
            error = _split_vma(mm, following, end, False)
            if error:
                return error
        detach.append(following)
    return detach


@ported("mm/vma.c", "vms_complete_munmap_vmas")
def vms_complete_munmap_vmas(mm: MM, detach: list[VmArea], start: int, end: int) -> None:
    """Unmap, free and close the collected vmas, which are out of the address space already."""
    tlb = tlb_gather_mmu(mm)
    unmap_vmas(tlb, detach, start, end)
    free_pgtables(tlb, detach)
    tlb_finish_mmu(tlb)
    for vma in detach:
        remove_vma(vma)


@ported("mm/vma.c", "do_vmi_align_munmap")
def do_vmi_align_munmap(mm: MM, vma: VmArea, start: int, end: int) -> int:
    """Remove ``start`` to ``end`` (bytes), whose first vma is ``vma``: 0 or -errno."""
    detach = vms_gather_munmap_vmas(mm, vma, start, end)
    if IS_ERR(detach):
        return detach
    for gone in detach:
        mm.vmas.remove(gone)
    vms_complete_munmap_vmas(mm, detach, start, end)
    return 0


@ported("mm/vma.c", "do_vmi_munmap")
def do_vmi_munmap(mm: MM, start: int, length: int) -> int:
    """Remove ``length`` bytes from ``start``: 0 or -errno."""
    if start & (PAGE_SIZE - 1) or start > TASK_SIZE or length > TASK_SIZE - start:
        return -EINVAL
    end = start + (length + PAGE_SIZE - 1 & -PAGE_SIZE)
    if end == start:
        return -EINVAL
    vma = find_vma_intersection(mm, start, end)
    if vma is None:
        return 0
    return do_vmi_align_munmap(mm, vma, start, end)


@ported("mm/mmap.c", "do_munmap")
def do_munmap(mm: MM, start: int, length: int) -> int:
    """Remove ``length`` bytes from ``start`` under a lock that is held: 0 or -errno."""
    return do_vmi_munmap(mm, start, length)


@ported("mm/mmap.c", "munmap")
def sys_munmap(addr: int, length: int) -> int:
    """munmap(2) by the running task, in bytes: 0 or -errno.

    The kernel finishes with the lock taken for reading only, which makes no difference to others:
    the vmas are out of the address space by then.
    """
    assert machine.current is not None
    mm = machine.current.mm
    down_write(mm.mmap_lock)
    ret = do_vmi_munmap(mm, addr, length)
    up_write(mm.mmap_lock)
    return ret


# ---- mmap ----


@ported("mm/mmap.c", "mmap_region")
def mmap_region(file: File, addr: int, length: int, vm_flags: int, pgoff: int) -> int:
    """Map ``length`` bytes of a file at ``addr``: the address or -errno.

    Raises:
        Unmodelled: something is mapped there already (callers check).
    """
    assert machine.current is not None
    mm = machine.current.mm
    if find_vma_intersection(mm, addr, addr + length) is not None:
        msg = "mmap over another mapping"
        raise Unmodelled(msg)

    if inject("kmalloc_vma"):
        return -ENOMEM
    vma = VmArea(mm, addr, addr + length, vm_flags)
    vma.vm_pgoff = pgoff
    vma.vm_file = get_file(file)
    error = call_mmap(file, vma)
    if error:
        fput(vma.vm_file)
        # Undoing a partial mapping finds nothing to do: nothing was mapped yet.
        vma.vm_file = None
        return error

    insert_vm_struct(mm, vma)
    vma_link_file(vma)
    return addr


@ported("mm/mmap.c", "do_mmap")
def do_mmap(
    file: File, addr: int, length: int, prot: int, flags: int, vm_flags: int, pgoff: int
) -> tuple[int, int]:
    """Map ``length`` bytes of a file, from page ``pgoff`` (base pages), under a lock that is held.

    Returns the address or -errno, and how many bytes are to be populated.
    """
    assert machine.current is not None
    mm = machine.current.mm
    if not length:
        return -EINVAL, 0

    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED

    length = length + PAGE_SIZE - 1 & -PAGE_SIZE
    if pgoff + (length >> PAGE_SHIFT) >= 1 << 64:
        return -EOVERFLOW, 0
    if len(mm.vmas) > MAX_MAP_COUNT:
        return -ENOMEM, 0

    if length > TASK_SIZE:
        return -ENOMEM, 0
    assert file.f_op is not None
    addr = file.f_op.get_unmapped_area(file, addr, length, pgoff, flags)
    if addr < 0:
        return addr, 0
    if addr > TASK_SIZE - length:
        return -ENOMEM, 0
    if flags & MAP_FIXED_NOREPLACE and find_vma_intersection(mm, addr, addr + length):
        return -EEXIST, 0

    vm_flags |= (
        (VM_READ if prot & PROT_READ else 0)
        | (VM_WRITE if prot & PROT_WRITE else 0)
        | (VM_EXEC if prot & PROT_EXEC else 0)
        | VM_MAYREAD
        | VM_MAYWRITE
        | VM_MAYEXEC
    )
    kind = flags & MAP_TYPE
    if kind == MAP_SHARED:
        if prot & PROT_WRITE and not file.f_mode & FMODE_WRITE:
            return -EACCES, 0
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not file.f_mode & FMODE_WRITE:
            vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
    elif kind != MAP_PRIVATE:
        return -EINVAL, 0
    if not file.f_mode & FMODE_READ:
        return -EACCES, 0

    if flags & MAP_NORESERVE:
        vm_flags |= VM_NORESERVE

    addr = mmap_region(file, addr, length, vm_flags, pgoff)
    if addr >= 0 and flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
        return addr, length
    return addr, 0


@ported("mm/util.c", "vm_mmap_pgoff")
def vm_mmap_pgoff(file: File, addr: int, length: int, prot: int, flag: int, pgoff: int) -> int:
    """do_mmap() under the lock, then populate: the address or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    down_write(mm.mmap_lock)
    ret, populate = do_mmap(file, addr, length, prot, flag, 0, pgoff)
    up_write(mm.mmap_lock)
    if populate:
        mm_populate(ret, populate)
    return ret


@ported("mm/mmap.c", "ksys_mmap_pgoff")
def ksys_mmap_pgoff(
    addr: int, length: int, prot: int, flags: int, fd: str | None, pgoff: int
) -> int:
    """mmap(2) by the running task: the address or -errno.

    ``length`` is in bytes, ``pgoff`` in base pages.
    """
    file: File | int | None
    if not flags & MAP_ANONYMOUS:
        file = None if fd is None else fget(fd)
        if file is None:
            return -EBADF
        size = huge_page_size(hstate_file(file))
        length = length + size - 1 & -size
    else:
        if not flags & MAP_HUGETLB:
            msg = "mmap of small pages"
            raise Unmodelled(msg)
        log = flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK
        hs = hstate_sizelog(log)
        if hs is None:
            return -EINVAL
        size = huge_page_size(hs)
        length = length + size - 1 & -size
        # The reservation is taken when the file is mapped.
        file = hugetlb_file_setup(
            "anon_hugepage", length, VM_NORESERVE, HUGETLB_ANONHUGE_INODE, log
        )
        if IS_ERR(file):
            return file
    retval = vm_mmap_pgoff(file, addr, length, prot, flags, pgoff)
    fput(file)
    return retval
