# Fidelity: DUP
"""userfaultfd on huge pages (fs/userfaultfd.c, mm/userfaultfd.c).

A process has one context at most, with UFFD_FEATURE_SIGBUS: a fault that a handler would have to
answer ends in SIGBUS instead of waiting for it. The source of a copy is no memory of its own: the
word at a source address is the address itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.protect import MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE
from models.hugetlb.structs import huge_page_size
from models.hugetlb.uffd import (
    MFILL_ATOMIC_CONTINUE,
    MFILL_ATOMIC_COPY,
    MFILL_ATOMIC_POISON,
    MFILL_ATOMIC_WP,
)
from models.kernel.errno import EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, EPERM, IS_ERR
from models.kernel.locks import RWSem, down_read, down_write, up_read, up_write
from models.kernel.machine import bug_on, warn_on
from models.kernel.mm import TASK_SIZE
from models.kernel.port import ported
from models.kernel.structs import (
    MM,
    PAGE_SIZE,
    VM_MAYWRITE,
    VM_SHARED,
    VM_UFFD_MINOR,
    VM_UFFD_MISSING,
    VM_UFFD_WP,
    Folio,
    VmArea,
)
from models.kernel.vmfault import (
    UFFD_FEATURE_SIGBUS,
    uffd_disable_huge_pmd_share,
    userfaultfd_wp,
)

if TYPE_CHECKING:
    from models.hugetlb.fault import hugetlb_fault_mutex_hash, hugetlb_fault_mutex_table
    from models.hugetlb.inline import hstate_vma, hugetlb_linear_page_index
    from models.hugetlb.uffd import hugetlb_mfill_atomic_pte, uffd_flags_mode_is
    from models.hugetlb.vm_ops import hugetlb_unshare_all_pmds
    from models.hugetlb.vma_resv import hugetlb_vma_lock_read, hugetlb_vma_unlock_read
    from models.kernel.locks import mutex_lock, mutex_unlock
    from models.kernel.machine import machine
    from models.kernel.mm import find_vma, find_vma_intersection, vma_modify_flags
    from models.kernel.mprotect import change_protection
    from models.kernel.page import copy_folio_from_user, folio_put
    from models.kernel.pgtable import huge_pte_alloc, huge_pte_none_mostly, huge_ptep_get
    from models.kernel.rmap import anon_vma_prepare
    from models.kernel.task import Task

#: Where untouched memory lies that is copied from: below 0, however long the copy.
COLD_SOURCE: Final = -(1 << 62)
VM_UFFD_FLAGS: Final = VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR


class UserfaultfdCtx:
    """struct userfaultfd_ctx of one address space."""

    __slots__ = ("features", "map_changing_lock", "mm")

    def __init__(self, mm: MM) -> None:
        self.mm = mm
        self.features = UFFD_FEATURE_SIGBUS
        self.map_changing_lock = RWSem("map_changing_lock")


@ported("fs/userfaultfd.c", "validate_range")
def validate_range(start: int, length: int) -> int:
    """Whether ``length`` bytes from ``start`` can be a range at all: 0 or -EINVAL."""
    if start & (PAGE_SIZE - 1) or length & (PAGE_SIZE - 1):
        return -EINVAL
    if not length or start >= TASK_SIZE or length > TASK_SIZE - start:
        return -EINVAL
    return 0


@ported("fs/userfaultfd.c", "userfaultfd_reset_ctx")
def userfaultfd_reset_ctx(vma: VmArea) -> None:
    """Take a vma out of its context."""
    vma.uffd = None
    vma.vm_flags &= ~VM_UFFD_FLAGS


@ported("fs/userfaultfd.c", "dup_userfaultfd")
def dup_userfaultfd(vma: VmArea) -> None:
    """A child's vma is in no context: contexts here do not ask to be told of forks."""
    if vma.uffd is not None:
        userfaultfd_reset_ctx(vma)


@ported("fs/userfaultfd.c", "mremap_userfaultfd_prep")
def mremap_userfaultfd_prep(vma: VmArea) -> None:
    """A moved vma leaves its context: contexts here do not ask to be told of moves."""
    if vma.uffd is not None:
        userfaultfd_reset_ctx(vma)


def userfaultfd_of(task: Task) -> UserfaultfdCtx:
    """The context of a process, made before its first request."""
    if task.uffd is None:
        task.uffd = UserfaultfdCtx(task.mm)
    return task.uffd


@ported("fs/userfaultfd.c", "userfaultfd_register")
def sys_uffd_register(start: int, length: int, modes: int) -> int:
    """UFFDIO_REGISTER by the running task (bytes, VM_UFFD_* modes): 0 or -errno."""
    assert machine.current is not None
    task = machine.current
    mm = task.mm
    if not modes or modes & ~VM_UFFD_FLAGS:
        return -EINVAL
    ret = validate_range(start, length)
    if ret:
        return ret
    end = start + length

    down_write(mm.mmap_lock)
    ret = userfaultfd_check_range(mm, start, end)
    if not ret:
        ret = userfaultfd_register_range(userfaultfd_of(task), start, end, modes)
    up_write(mm.mmap_lock)
    return ret


def userfaultfd_check_range(mm: MM, start: int, end: int) -> int:
    """Whether all vmas of ``start`` to ``end`` (bytes) can be registered: 0 or -errno."""
    vma = find_vma_intersection(mm, start, end)
    if vma is None:
        return -EINVAL
    if start & (huge_page_size(hstate_vma(vma)) - 1):
        return -EINVAL
    while vma is not None and vma.vm_start < end:
        if not vma.vm_flags & VM_MAYWRITE:
            return -EPERM
        if vma.vm_start < end <= vma.vm_end and end & (huge_page_size(hstate_vma(vma)) - 1):
            return -EINVAL
        vma = find_vma(mm, vma.vm_end)
    return 0


@ported("mm/userfaultfd.c", "userfaultfd_register_range")
def userfaultfd_register_range(ctx: UserfaultfdCtx, start: int, end: int, vm_flags: int) -> int:
    """Put the vmas of ``start`` to ``end`` (bytes) into the context: 0 or -errno."""
    mm = ctx.mm
    vma = find_vma(mm, start)
    while vma is not None and vma.vm_start < end:
        if vma.uffd is not ctx or vma.vm_flags & vm_flags != vm_flags:
            start = max(start, vma.vm_start)
            error = vma_modify_flags(mm, vma, start, min(end, vma.vm_end))
            if error:
                return error
            vma.vm_flags = (vma.vm_flags & ~VM_UFFD_FLAGS) | vm_flags
            vma.uffd = ctx
            if uffd_disable_huge_pmd_share(vma):
                hugetlb_unshare_all_pmds(vma)
        start = vma.vm_end
        vma = find_vma(mm, start)
    return 0


@ported("fs/userfaultfd.c", "userfaultfd_unregister")
def sys_uffd_unregister(start: int, length: int) -> int:
    """UFFDIO_UNREGISTER by the running task (bytes), of registered parts or not: 0 or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    ret = validate_range(start, length)
    if ret:
        return ret
    end = start + length

    down_write(mm.mmap_lock)
    vma = find_vma_intersection(mm, start, end)
    if vma is None or start & (huge_page_size(hstate_vma(vma)) - 1):
        ret = -EINVAL
        vma = None
    while vma is not None and vma.vm_start < end:
        if vma.uffd is not None:
            warn_on(not vma.vm_flags & VM_MAYWRITE, "userfaultfd_unregister: !VM_MAYWRITE")
            start = max(start, vma.vm_start)
            ret = userfaultfd_clear_vma(vma, start, min(end, vma.vm_end))
            if ret:
                break
        start = vma.vm_end
        vma = find_vma(mm, start)
    up_write(mm.mmap_lock)
    return ret


@ported("mm/userfaultfd.c", "userfaultfd_clear_vma")
def userfaultfd_clear_vma(vma: VmArea, start: int, end: int) -> int:
    """Take a part of a vma (bytes) out of its context: 0 or -errno."""
    assert vma.vm_mm is not None
    if userfaultfd_wp(vma):
        uffd_wp_range(vma, start, end - start, False)
    error = vma_modify_flags(vma.vm_mm, vma, start, end)
    if error:
        return error
    userfaultfd_reset_ctx(vma)
    return 0


# ---- filling ----


@ported("mm/userfaultfd.c", "uffd_mfill_lock")
def uffd_mfill_lock(dst_mm: MM, dst_start: int, length: int) -> VmArea | int:
    """The registered vma that has the whole range (bytes), with mmap_lock held, or -errno."""
    down_read(dst_mm.mmap_lock)
    dst_vma = find_vma(dst_mm, dst_start)
    ret = 0
    if dst_vma is None or dst_vma.vm_start > dst_start:
        ret = -ENOENT
    elif not dst_vma.vm_flags & VM_SHARED and anon_vma_prepare(dst_vma):
        ret = -ENOMEM
    elif dst_start + length > dst_vma.vm_end or dst_vma.uffd is None:
        ret = -ENOENT
    if ret or dst_vma is None:
        up_read(dst_mm.mmap_lock)
        return ret
    return dst_vma


@ported("mm/userfaultfd.c", "mfill_atomic_hugetlb")
def mfill_atomic_hugetlb(
    ctx: UserfaultfdCtx, dst_vma: VmArea, dst_start: int, src_start: int, length: int, flags: int
) -> int:
    """Fill ``length`` bytes from ``dst_start``: bytes filled, or -errno if none.

    Called with mmap_lock and the context's lock held, which it releases. Where the source cannot
    be read with locks held, it is copied into a folio of its own without them, and then again.
    """
    dst_mm = ctx.mm
    hpagesize = huge_page_size(hstate_vma(dst_vma))
    src_addr = src_start
    dst_addr = dst_start
    copied = 0
    foliop: list[Folio | None] = [None]
    err = -EINVAL
    locked = True

    if not dst_start & (hpagesize - 1) and not length & (hpagesize - 1):
        while src_addr < src_start + length:
            if not locked:
                again = uffd_mfill_lock(dst_mm, dst_start, length)
                if IS_ERR(again):
                    err = again
                    break
                dst_vma = again
                if hpagesize != huge_page_size(hstate_vma(dst_vma)):
                    up_read(dst_mm.mmap_lock)
                    err = -EINVAL
                    break
                down_read(ctx.map_changing_lock)
                locked = True

            idx = hugetlb_linear_page_index(dst_vma, dst_addr)
            assert dst_vma.vm_file is not None
            mapping = dst_vma.vm_file.f_mapping
            hash = hugetlb_fault_mutex_hash(mapping, idx)
            mutex_lock(hugetlb_fault_mutex_table[hash])
            hugetlb_vma_lock_read(dst_vma)

            dst_pte = huge_pte_alloc(dst_mm, dst_vma, dst_addr, hpagesize)
            if dst_pte is None:
                err = -ENOMEM
            elif not uffd_flags_mode_is(flags, MFILL_ATOMIC_CONTINUE) and not huge_pte_none_mostly(
                huge_ptep_get(dst_mm, dst_addr, dst_pte)
            ):
                err = -EEXIST
            else:
                err = hugetlb_mfill_atomic_pte(dst_pte, dst_vma, dst_addr, src_addr, flags, foliop)
                hugetlb_vma_unlock_read(dst_vma)
                mutex_unlock(hugetlb_fault_mutex_table[hash])
                if err == -ENOENT:
                    up_read(ctx.map_changing_lock)
                    up_read(dst_mm.mmap_lock)
                    locked = False
                    folio = foliop[0]
                    bug_on(folio is None, "mfill_atomic_hugetlb: !folio")
                    assert folio is not None
                    if copy_folio_from_user(folio, src_addr, True):
                        err = -EFAULT
                        break
                    continue
                bug_on(foliop[0] is not None, "mfill_atomic_hugetlb: folio")
                if err:
                    break
                dst_addr += hpagesize
                src_addr += hpagesize
                copied += hpagesize
                continue
            hugetlb_vma_unlock_read(dst_vma)
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            break

    if locked:
        up_read(ctx.map_changing_lock)
        up_read(dst_mm.mmap_lock)
    kept = foliop[0]
    if kept is not None:
        folio_put(kept)
    bug_on(not copied and not err, "mfill_atomic_hugetlb: !copied && !err")
    return copied or err


@ported("mm/userfaultfd.c", "mfill_atomic")
def mfill_atomic(
    ctx: UserfaultfdCtx, dst_start: int, src_start: int, length: int, flags: int
) -> int:
    """Fill ``length`` bytes from ``dst_start`` of a context: bytes filled, or -errno if none."""
    dst_vma = uffd_mfill_lock(ctx.mm, dst_start, length)
    if IS_ERR(dst_vma):
        return dst_vma
    down_read(ctx.map_changing_lock)
    # What is filled can be protected only where protection was asked for.
    if flags & MFILL_ATOMIC_WP and not userfaultfd_wp(dst_vma):
        up_read(ctx.map_changing_lock)
        up_read(ctx.mm.mmap_lock)
        return -EINVAL
    return mfill_atomic_hugetlb(ctx, dst_vma, dst_start, src_start, length, flags)


def uffd_fill(dst: int, src: int, length: int, flags: int) -> int:
    """One ioctl that fills, by the running task: 0, -EAGAIN if only in part, or -errno."""
    assert machine.current is not None
    ret = validate_range(dst, length)
    if ret:
        return ret
    ret = mfill_atomic(userfaultfd_of(machine.current), dst, src, length, flags)
    if ret < 0:
        return ret
    return 0 if ret == length else -EAGAIN


@ported("fs/userfaultfd.c", "userfaultfd_copy")
def sys_uffd_copy(dst: int, src: int, length: int, cold: bool, protect: bool) -> int:
    """UFFDIO_COPY by the running task, in bytes, from ``cold`` or touched memory: 0 or -errno."""
    flags = MFILL_ATOMIC_COPY | (MFILL_ATOMIC_WP if protect else 0)
    return uffd_fill(dst, COLD_SOURCE if cold else src, length, flags)


@ported("fs/userfaultfd.c", "userfaultfd_continue")
def sys_uffd_continue(start: int, length: int, protect: bool) -> int:
    """UFFDIO_CONTINUE by the running task, in bytes: 0 or -errno."""
    return uffd_fill(start, 0, length, MFILL_ATOMIC_CONTINUE | (MFILL_ATOMIC_WP if protect else 0))


@ported("fs/userfaultfd.c", "userfaultfd_poison")
def sys_uffd_poison(start: int, length: int) -> int:
    """UFFDIO_POISON by the running task, in bytes: 0 or -errno."""
    return uffd_fill(start, 0, length, MFILL_ATOMIC_POISON)


# ---- write protection ----


@ported("mm/userfaultfd.c", "uffd_wp_range")
def uffd_wp_range(dst_vma: VmArea, start: int, length: int, enable_wp: bool) -> int:
    """Write-protect a part of a vma (bytes), or end that: base pages changed, or -ENOMEM."""
    flags = MM_CP_UFFD_WP if enable_wp else MM_CP_UFFD_WP_RESOLVE
    return change_protection(dst_vma, start, start + length, flags)


@ported("mm/userfaultfd.c", "mwriteprotect_range")
def mwriteprotect_range(ctx: UserfaultfdCtx, start: int, length: int, enable_wp: bool) -> int:
    """Write-protect ``length`` bytes from ``start`` of a context, or end that: 0 or -errno."""
    dst_mm = ctx.mm
    end = start + length
    down_read(dst_mm.mmap_lock)
    down_read(ctx.map_changing_lock)
    err = -ENOENT
    dst_vma = find_vma_intersection(dst_mm, start, end)
    while dst_vma is not None and dst_vma.vm_start < end:
        if not userfaultfd_wp(dst_vma):
            err = -ENOENT
            break
        page_mask = huge_page_size(hstate_vma(dst_vma)) - 1
        if start & page_mask or length & page_mask:
            err = -EINVAL
            break
        first, last = max(dst_vma.vm_start, start), min(dst_vma.vm_end, end)
        err = uffd_wp_range(dst_vma, first, last - first, enable_wp)
        if err < 0:
            break
        err = 0
        dst_vma = find_vma(dst_mm, dst_vma.vm_end)
    up_read(ctx.map_changing_lock)
    up_read(dst_mm.mmap_lock)
    return err


@ported("fs/userfaultfd.c", "userfaultfd_writeprotect")
def sys_uffd_writeprotect(start: int, length: int, enable_wp: bool) -> int:
    """UFFDIO_WRITEPROTECT by the running task, in bytes: 0 or -errno."""
    assert machine.current is not None
    ret = validate_range(start, length)
    if ret:
        return ret
    return mwriteprotect_range(userfaultfd_of(machine.current), start, length, enable_wp)
