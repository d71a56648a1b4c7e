# Fidelity: DUP
"""Faulting pages in from inside the kernel, and pinning them (mm/gup.c).

All memory of the modelled nodes may be pinned for long, so that pinning never migrates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import huge_page_mask, huge_page_size, pages_per_huge_page
from models.kernel.errno import EBUSY, EFAULT, EHWPOISON, EINVAL, EMLINK, ENOMEM, IS_ERR
from models.kernel.locks import down_read, up_read
from models.kernel.machine import bug_on, warn_on_once
from models.kernel.port import ported
from models.kernel.structs import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_MAYREAD,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Folio,
)
from models.kernel.vmfault import (
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_HWPOISON,
    VM_FAULT_HWPOISON_LARGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
)

if TYPE_CHECKING:
    from models.hugetlb.fork import is_cow_mapping
    from models.hugetlb.inline import hstate_vma
    from models.hugetlb.vma_resv import hugetlb_vma_lock_read, hugetlb_vma_unlock_read
    from models.kernel.locks import spin_lock, spin_unlock
    from models.kernel.machine import machine
    from models.kernel.mm import find_vma_intersection, vma_is_accessible, vma_lookup
    from models.kernel.page import (
        PageAnonExclusive,
        folio_put_refs,
        folio_ref_add,
        folio_test_anon,
    )
    from models.kernel.pgtable import hugetlb_walk, pte_present
    from models.kernel.process import handle_mm_fault
    from models.kernel.structs import MM, VmArea

FOLL_WRITE: Final = 1 << 0
FOLL_GET: Final = 1 << 1
FOLL_FORCE: Final = 1 << 3
FOLL_HWPOISON: Final = 1 << 8
FOLL_LONGTERM: Final = 1 << 10
FOLL_TOUCH: Final = 1 << 16
FOLL_PIN: Final = 1 << 19
FOLL_UNLOCKABLE: Final = 1 << 21
FOLL_MADV_POPULATE: Final = 1 << 22


class PinnedBuffer:
    """Pages that a registered buffer pins: each base page of ``pages`` counts once."""

    __slots__ = ("address", "length", "pages")

    def __init__(self, address: int, length: int, pages: list[Folio]) -> None:
        self.address = address
        self.length = length
        self.pages = pages


@ported("mm/gup.c", "try_grab_folio")
def try_grab_folio(folio: Folio, refs: int, flags: int) -> int:
    """Take ``refs`` references, with FOLL_PIN pins as well: 0 or -ENOMEM."""
    if warn_on_once(folio.refcount <= 0, "try_grab_folio: folio_ref_count(folio) <= 0"):
        return -ENOMEM
    if flags & FOLL_GET:
        folio_ref_add(folio, refs)
    elif flags & FOLL_PIN:
        folio_ref_add(folio, refs)
        folio.pincount += refs
    return 0


@ported("mm/gup.c", "gup_put_folio")
def gup_put_folio(folio: Folio, refs: int, flags: int) -> None:
    """Drop ``refs`` references, with FOLL_PIN pins as well."""
    if flags & FOLL_PIN:
        folio.pincount -= refs
    folio_put_refs(folio, refs)


@ported("mm/gup.c", "unpin_folio")
def unpin_folio(folio: Folio) -> None:
    """Drop one pin."""
    gup_put_folio(folio, 1, FOLL_PIN)


@ported("mm/gup.c", "unpin_user_pages")
def unpin_user_pages(pages: list[Folio]) -> None:
    """Drop one pin for each base page; those of one folio that follow each other go together."""
    at = 0
    while at < len(pages):
        folio = pages[at]
        end = at + 1
        while end < len(pages) and pages[end] is folio:
            end += 1
        gup_put_folio(folio, end - at, FOLL_PIN)
        at = end


@ported("mm/internal.h", "gup_must_unshare")
def gup_must_unshare(vma: VmArea, flags: int, page: Folio) -> bool:
    """Whether a page must be copied before it may be pinned for reading."""
    if flags & (FOLL_WRITE | FOLL_PIN) != FOLL_PIN:
        return False
    if not folio_test_anon(page):
        if not flags & FOLL_LONGTERM:
            return False
        return is_cow_mapping(vma.vm_flags)
    return not PageAnonExclusive(page)


@ported("mm/gup.c", "follow_huge_pmd")
def follow_huge_pmd(vma: VmArea, pte_write: bool, page: Folio, flags: int) -> Folio | int | None:
    """The mapped page, None if a fault must come first, or -EMLINK if it must be unshared."""
    if flags & FOLL_WRITE and not pte_write:
        # FOLL_FORCE cannot help: hugetlb mappings that are not writable were refused before.
        return None
    if not pte_write and gup_must_unshare(vma, flags, page):
        return -EMLINK
    bug_on(
        flags & FOLL_PIN and folio_test_anon(page) and not PageAnonExclusive(page),
        "follow_huge_pmd: (flags & FOLL_PIN) && PageAnon(page) && !PageAnonExclusive(page)",
    )
    ret = try_grab_folio(page, 1, flags)
    if ret:
        return ret
    return page


@ported("mm/gup.c", "follow_page_mask")
def follow_page_mask(vma: VmArea, address: int, flags: int) -> Folio | int | None:
    """The page mapped at ``address`` (bytes), None if there is none, or -errno."""
    h = hstate_vma(vma)
    hugetlb_vma_lock_read(vma)
    page: Folio | int | None = None
    slot = hugetlb_walk(vma, address & huge_page_mask(h), huge_page_size(h))
    if slot is not None and pte_present(slot.pte):
        spin_lock(slot.ptl)
        pte = slot.pte
        if pte_present(pte):
            assert pte.folio is not None
            page = follow_huge_pmd(vma, pte.write, pte.folio, flags)
        spin_unlock(slot.ptl)
    hugetlb_vma_unlock_read(vma)
    return page


@ported("mm/gup.c", "check_vma_flags")
def check_vma_flags(vma: VmArea, gup_flags: int) -> int:
    """Whether the mapping allows the access: 0 or -EFAULT."""
    if gup_flags & FOLL_WRITE:
        # hugetlb does not let FOLL_FORCE write what may not be written.
        if not vma.vm_flags & VM_WRITE:
            return -EFAULT
    elif not vma.vm_flags & VM_READ and (
        not gup_flags & FOLL_FORCE or not vma.vm_flags & VM_MAYREAD
    ):
        return -EFAULT
    return 0


@ported("include/linux/mm.h", "vm_fault_to_errno")
def vm_fault_to_errno(vm_fault: int, foll_flags: int) -> int:
    """The negative errno of a failed fault."""
    if vm_fault & VM_FAULT_OOM:
        return -ENOMEM
    if vm_fault & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE):
        return -EHWPOISON if foll_flags & FOLL_HWPOISON else -EFAULT
    if vm_fault & (VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV):
        return -EFAULT
    return 0


@ported("mm/gup.c", "faultin_page")
def faultin_page(vma: VmArea, address: int, flags: int, unshare: bool) -> int:
    """Fault a page in: 0 or -errno."""
    fault_flags = 0
    if flags & FOLL_WRITE:
        fault_flags |= FAULT_FLAG_WRITE
    if unshare:
        fault_flags |= FAULT_FLAG_UNSHARE
        bug_on(fault_flags & FAULT_FLAG_WRITE, "faultin_page: fault_flags & FAULT_FLAG_WRITE")
    ret = handle_mm_fault(vma, address, fault_flags)
    if ret & VM_FAULT_ERROR:
        err = vm_fault_to_errno(ret, flags)
        bug_on(not err, "faultin_page: no errno")
        return err
    if ret & VM_FAULT_RETRY:
        return -EBUSY
    return 0


@ported("mm/gup.c", "__get_user_pages")
def _get_user_pages(
    mm: MM, start: int, nr_pages: int, gup_flags: int, pages: list[Folio] | None
) -> int:
    """Fault in, and with ``pages`` collect, ``nr_pages`` base pages from ``start`` (bytes).

    Returns how many, or -errno if none.
    """
    ret = 0
    i = 0
    vma: VmArea | None = None

    if not nr_pages:
        return 0
    while nr_pages:
        if vma is None or start >= vma.vm_end:
            vma = vma_lookup(mm, start)
            if vma is None:
                ret = -ENOMEM if gup_flags & FOLL_MADV_POPULATE else -EFAULT
                break
            ret = check_vma_flags(vma, gup_flags)
            if ret:
                if gup_flags & FOLL_MADV_POPULATE:
                    ret = -EINVAL
                break
        page = follow_page_mask(vma, start, gup_flags)
        if page is None or page == -EMLINK:
            ret = faultin_page(vma, start, gup_flags, page is not None)
            if ret == 0:
                continue
            if ret == -EBUSY:
                ret = 0
            break
        if IS_ERR(page):
            ret = page
            break
        # Not the head of the huge page when start is inside it.
        page_mask = pages_per_huge_page(hstate_vma(vma)) - 1
        page_increm = 1 + (~(start >> PAGE_SHIFT) & page_mask)
        page_increm = min(page_increm, nr_pages)
        if pages is not None:
            if page_increm > 1 and try_grab_folio(page, page_increm - 1, gup_flags):
                gup_put_folio(page, 1, gup_flags)
                ret = -EFAULT
                break
            pages.extend([page] * page_increm)
        i += page_increm
        start += page_increm * PAGE_SIZE
        nr_pages -= page_increm
    return i or ret


# ---- populate ----


@ported("mm/gup.c", "populate_vma_page_range")
def populate_vma_page_range(vma: VmArea, start: int, end: int) -> int:
    """Fault in ``start`` to ``end`` (bytes) of a mapping: base pages done, or -errno."""
    mm = vma.vm_mm
    assert mm is not None
    nr_pages = (end - start) // PAGE_SIZE

    if not vma_is_accessible(vma):
        return -EFAULT

    gup_flags = FOLL_TOUCH
    # A writable private mapping is written to, so that its pages are its own at once.
    if vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE:
        gup_flags |= FOLL_WRITE
    else:
        gup_flags |= FOLL_FORCE
    return _get_user_pages(mm, start, nr_pages, gup_flags | FOLL_UNLOCKABLE, None)


@ported("mm/gup.c", "faultin_page_range")
def faultin_page_range(mm: MM, start: int, end: int, write: bool) -> int:
    """Fault in ``start`` to ``end`` (bytes) for madvise: base pages done, or -errno."""
    nr_pages = (end - start) // PAGE_SIZE
    gup_flags = FOLL_TOUCH | FOLL_HWPOISON | FOLL_UNLOCKABLE | FOLL_MADV_POPULATE
    if write:
        gup_flags |= FOLL_WRITE
    return _get_user_pages(mm, start, nr_pages, gup_flags, None)


@ported("mm/gup.c", "__mm_populate")
def _mm_populate(start: int, length: int, ignore_errors: bool) -> int:
    """Fault in ``length`` bytes from ``start`` of the running task: 0 or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    ret = 0
    end = start + length

    down_read(mm.mmap_lock)
    nstart = start
    while nstart < end:
        vma = find_vma_intersection(mm, nstart, end)
        if vma is None:
            break
        nend = min(end, vma.vm_end)
        nstart = max(nstart, vma.vm_start)
        ret = populate_vma_page_range(vma, nstart, nend)
        if ret < 0:
            if not ignore_errors:
                break
            ret = 0
            nstart = nend
            continue
        nstart += ret * PAGE_SIZE
        ret = 0
    up_read(mm.mmap_lock)
    return ret


@ported("include/linux/mm.h", "mm_populate")
def mm_populate(addr: int, length: int) -> None:
    """Fault in ``length`` bytes from ``addr``; errors do not matter to mmap."""
    _mm_populate(addr, length, True)


# ---- long-term pins ----


@ported("mm/gup.c", "pin_user_pages")
def pin_user_pages(start: int, nr_pages: int, gup_flags: int, pages: list[Folio]) -> int:
    """Pin ``nr_pages`` base pages from ``start`` (bytes) into ``pages``: how many, or -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    down_read(mm.mmap_lock)
    mm.pinned = True
    ret = _get_user_pages(mm, start, nr_pages, gup_flags | FOLL_PIN, pages)
    up_read(mm.mmap_lock)
    return ret


@ported("io_uring/memmap.c", "io_pin_pages")
def io_pin_pages(uaddr: int, length: int, pages: list[Folio]) -> int:
    """Pin ``length`` bytes from ``uaddr`` for long and for writing, all or nothing: 0 or -errno."""
    nr_pages = length // PAGE_SIZE
    ret = pin_user_pages(uaddr, nr_pages, FOLL_WRITE | FOLL_LONGTERM, pages)
    if ret == nr_pages:
        return 0
    if ret >= 0:
        unpin_user_pages(pages)
        ret = -EFAULT
    return ret


def sys_pin(name: str, addr: int, length: int) -> int:
    """Register a buffer of ``length`` bytes with a ring of the running task: 0 or -errno.

    It stands for all users of long-term pins: the kernel's io_uring_register(2) does just this.
    Each ring has one buffer, and a child closes the rings that it inherits at once.
    """
    assert machine.current is not None
    if not length:
        return -EFAULT
    pages: list[Folio] = []
    ret = io_pin_pages(addr, length, pages)
    if ret:
        return ret
    machine.current.pins[name] = PinnedBuffer(addr, length, pages)
    return 0


def sys_unpin(name: str) -> int:
    """Unregister a buffer of the running task: 0."""
    assert machine.current is not None
    unpin_user_pages(machine.current.pins.pop(name).pages)
    return 0
