# Fidelity: DUP
"""Soft offlining of huge pages, errors taken back, and both by madvise(2) (mm/memory-failure.c,
mm/madvise.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.hstate import MR_MEMORY_FAILURE
from models.kernel.errno import EBUSY, EIO, ENXIO, EOPNOTSUPP
from models.kernel.gfp import _GFP_MOVABLE, _GFP_RETRY_MAYFAIL, GFP_USER
from models.kernel.gup import FOLL_GET, FOLL_TOUCH
from models.kernel.lists import ListHead, list_empty
from models.kernel.locks import down_read, mutex_lock, mutex_unlock, up_read
from models.kernel.memory_failure import (
    MF_ACTION_REQUIRED,
    MF_COUNT_INCREASED,
    MF_SOFT_OFFLINE,
    MF_SW_SIMULATED,
)
from models.kernel.migrate import MigrationTarget
from models.kernel.port import ported
from models.kernel.structs import NUMA_NO_NODE, PAGE_SHIFT, Folio

if TYPE_CHECKING:
    from models.hugetlb.dissolve import pfn_folio
    from models.hugetlb.migrate import get_hwpoison_hugetlb_folio, isolate_hugetlb
    from models.kernel.buddy import (
        PageHWPoisonTakenOff,
        is_free_buddy_page,
        pfn_valid,
        put_page_back_buddy,
    )
    from models.kernel.gup import _get_user_pages
    from models.kernel.machine import machine
    from models.kernel.memory_failure import (
        _page_handle_poison,
        folio_free_raw_hwp,
        hw_memory_failure,
        memory_failure,
        mf_mutex,
    )
    from models.kernel.migrate import migrate_pages, putback_movable_pages
    from models.kernel.page import (
        folio_lock,
        folio_mapped,
        folio_mapping,
        folio_put,
        folio_unlock,
    )

GET_PAGE_MAX_RETRY_NUM: Final = 3

MADV_HWPOISON: Final = 100
MADV_SOFT_OFFLINE: Final = 101


@ported("mm/memory-failure.c", "page_handle_poison")
def page_handle_poison(pfn: int) -> bool:
    """Withhold a base page of a huge or a free page; whether that could be done."""
    return _page_handle_poison(pfn) > 0


@ported("mm/memory-failure.c", "get_any_page")
def get_any_page(pfn: int, flags: int) -> int:
    """Hold the page: 1, 0 if it is free, or -EIO.

    A page that was taken or given back meanwhile, or cannot be handled now, is tried again.
    """
    passes = 0
    if not flags & MF_COUNT_INCREASED:
        while True:
            folio = pfn_folio(pfn)
            if folio is not None:
                ret, _ = get_hwpoison_hugetlb_folio(folio, False)
            else:
                ret = 0 if is_free_buddy_page(pfn) else -EBUSY
            if not ret:
                if folio is not None and folio.refcount:
                    if passes < GET_PAGE_MAX_RETRY_NUM:
                        passes += 1
                        continue
                    return -EBUSY
                return 0
            if ret == -EBUSY:
                if passes < 3:
                    passes += 1
                    continue
                return -EIO
            break
    return 1


@ported("mm/memory-failure.c", "soft_offline_in_use_page")
def soft_offline_in_use_page(pfn: int) -> int:
    """Migrate a held huge page elsewhere and withhold the base page: 0 or -errno."""
    ret = 0
    pagelist: ListHead[Folio] = ListHead()
    mtc = MigrationTarget(
        NUMA_NO_NODE, GFP_USER | _GFP_MOVABLE | _GFP_RETRY_MAYFAIL, MR_MEMORY_FAILURE
    )
    folio = pfn_folio(pfn)
    assert folio is not None
    folio_lock(folio)
    if folio.hwpoison and pfn == folio.pfn:
        folio_unlock(folio)
        folio_put(folio)
        return 0
    folio_unlock(folio)
    isolated = isolate_hugetlb(folio, pagelist)
    folio_put(folio)
    if not isolated:
        return -EBUSY
    ret = migrate_pages(pagelist, mtc)
    if not ret:
        if not page_handle_poison(pfn):
            ret = -EBUSY
    else:
        if not list_empty(pagelist):
            putback_movable_pages(pagelist)
        if ret > 0:
            ret = -EBUSY
    return ret


@ported("mm/memory-failure.c", "soft_offline_page")
def soft_offline_page(pfn: int, flags: int) -> int:
    """Stop using a base page that is not bad yet: 0 or -errno."""
    try_again = True
    if not pfn_valid(pfn):
        return -ENXIO
    mutex_lock(mf_mutex)
    folio = pfn_folio(pfn)
    if PageHWPoisonTakenOff(pfn) or (folio is not None and folio.hwpoison and pfn == folio.pfn):
        if flags & MF_COUNT_INCREASED:
            assert folio is not None
            folio_put(folio)
        mutex_unlock(mf_mutex)
        return 0
    while True:
        ret = get_any_page(pfn, flags | MF_SOFT_OFFLINE)
        if ret > 0:
            ret = soft_offline_in_use_page(pfn)
        elif ret == 0 and not page_handle_poison(pfn):
            if try_again:
                try_again = False
                flags &= ~MF_COUNT_INCREASED
                continue
            ret = -EBUSY
        break
    mutex_unlock(mf_mutex)
    return ret


# ---- taking an error back ----


@ported("mm/memory-failure.c", "unpoison_memory")
def unpoison_memory(pfn: int) -> int:
    """Take back an error that was made up for a test: 0 or -errno."""
    ret = -EBUSY
    if not pfn_valid(pfn):
        return -EIO
    mutex_lock(mf_mutex)
    folio = pfn_folio(pfn)
    if hw_memory_failure:
        ret = -EOPNOTSUPP
    elif folio is None:
        # PageHWPoisonTakenOff() is what get_hwpoison_page() tells by -EHWPOISON.
        if PageHWPoisonTakenOff(pfn) and put_page_back_buddy(pfn):
            ret = 0
    elif (
        folio.hwpoison
        and pfn == folio.pfn
        and folio.refcount <= 1
        and not folio_mapped(folio)
        and folio_mapping(folio) is None
    ):
        ghp, _ = get_hwpoison_hugetlb_folio(folio, True)
        if not ghp:
            if folio_free_raw_hwp(folio, False):
                folio.hwpoison = False
                ret = 0
        elif ghp < 0:
            ret = ghp
        else:
            count = folio_free_raw_hwp(folio, False)
            folio_put(folio)
            if count:
                folio.hwpoison = False
                folio_put(folio)
                ret = 0
    mutex_unlock(mf_mutex)
    return ret


# ---- madvise ----


@ported("mm/gup.c", "get_user_pages_fast")
def get_user_pages_fast(start: int, nr_pages: int, gup_flags: int, pages: list[Folio]) -> int:
    """Hold ``nr_pages`` base pages from ``start`` (bytes) of the running task: how many, or
    -errno."""
    assert machine.current is not None
    mm = machine.current.mm
    down_read(mm.mmap_lock)
    ret = _get_user_pages(mm, start, nr_pages, gup_flags | FOLL_GET | FOLL_TOUCH, pages)
    up_read(mm.mmap_lock)
    return ret


@ported("mm/madvise.c", "madvise_inject_error")
def madvise_inject_error(behavior: int, start: int, end: int) -> int:
    """Make up an error for, or soft-offline, each page of a range (bytes): 0 or -errno."""
    while start < end:
        pages: list[Folio] = []
        ret = get_user_pages_fast(start, 1, 0, pages)
        if ret != 1:
            return ret
        page = pages[0]
        size = 1 << (page.order + PAGE_SHIFT)
        pfn = page.pfn + ((start & (size - 1)) >> PAGE_SHIFT)
        if behavior == MADV_SOFT_OFFLINE:
            ret = soft_offline_page(pfn, MF_COUNT_INCREASED)
        else:
            ret = memory_failure(pfn, MF_ACTION_REQUIRED | MF_COUNT_INCREASED | MF_SW_SIMULATED)
            if ret == -EOPNOTSUPP:
                ret = 0
        if ret:
            return ret
        start += size
    return 0
