# Fidelity: CUSTOM
"""Folios: references, the folio lock, flags, map counts, contents (mm.h, page-flags.h, pagemap.h).

A huge page is one folio, so ``struct page *`` and ``struct folio *`` are the same object here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import (
    HPG_FREED,
    HPG_MIGRATABLE,
    HPG_RAW_HWP_UNRELIABLE,
    HPG_RESTORE_RESERVE,
    HPG_TEMPORARY,
)
from models.kernel.errno import EFAULT, EHWPOISON
from models.kernel.machine import KernelDeadlock, bug_on, effect, inject
from models.kernel.port import ported
from models.kernel.structs import AnonVma

if TYPE_CHECKING:
    from models.hugetlb.folio_list import free_huge_folio
    from models.hugetlb.structs import Subpool
    from models.kernel.buddy import free_unref_page
    from models.kernel.machine import machine
    from models.kernel.structs import AddressSpace, Folio, VmArea


# ---- references ----


@ported("include/linux/mm.h", "folio_get")
def folio_get(folio: Folio) -> None:
    """Take one reference; the folio must have one already."""
    bug_on(folio.refcount <= 0, "folio_get: folio_ref_zero_or_close_to_overflow")
    folio.refcount += 1


@ported("include/linux/page_ref.h", "folio_try_get")
def folio_try_get(folio: Folio) -> bool:
    """Take one reference unless the count is zero or frozen; returns whether it was taken."""
    if folio.refcount == 0:
        return False
    folio.refcount += 1
    return True


@ported("mm/swap.c", "folio_put")
def folio_put(folio: Folio) -> None:
    """Drop one reference; the last one frees the huge page."""
    bug_on(folio.refcount <= 0, "folio_put_testzero: page_ref_count(page) == 0")
    folio.refcount -= 1
    if folio.refcount == 0:
        if folio.hugetlb:
            free_huge_folio(folio)
        else:
            free_unref_page(folio, folio.order)


@ported("include/linux/mm.h", "folio_put_refs")
def folio_put_refs(folio: Folio, refs: int) -> None:
    """Drop ``refs`` references; the last one frees the huge page."""
    bug_on(folio.refcount < refs, "folio_ref_sub_and_test: page_ref_count(page) < refs")
    folio.refcount -= refs
    if folio.refcount == 0:
        free_huge_folio(folio)


@ported("include/linux/page_ref.h", "folio_ref_add")
def folio_ref_add(folio: Folio, nr: int) -> None:
    """Take ``nr`` references."""
    folio.refcount += nr


@ported("include/linux/page_ref.h", "folio_ref_freeze")
def folio_ref_freeze(folio: Folio, count: int) -> bool:
    """Set the count from exactly ``count`` to zero; returns whether it was so."""
    if folio.refcount != count:
        return False
    folio.refcount = 0
    return True


@ported("include/linux/page_ref.h", "folio_ref_unfreeze")
def folio_ref_unfreeze(folio: Folio, count: int) -> None:
    """Give a frozen folio ``count`` references."""
    bug_on(folio.refcount != 0, "folio_ref_unfreeze: page_count(page) != 0")
    folio.refcount = count


@ported("include/linux/page_ref.h", "folio_ref_count")
def folio_ref_count(folio: Folio) -> int:
    """References held."""
    return folio.refcount


# ---- the folio lock ----


@ported("include/linux/pagemap.h", "folio_trylock")
def folio_trylock(folio: Folio) -> bool:
    """Lock the folio if nobody has it; returns whether it was locked."""
    if folio.locked:
        return False
    folio.locked = True
    if machine.effects is not None:
        effect("folio_trylock")
    return True


@ported("include/linux/pagemap.h", "folio_lock")
def folio_lock(folio: Folio) -> None:
    """Lock the folio.

    Raises:
        KernelDeadlock: it is locked and no other task can unlock it.
    """
    hook = machine.lock_hook
    if hook is not None:
        hook("folio_lock", folio)
    while folio.locked:
        _folio_wait("folio_lock", folio)
    folio.locked = True
    if machine.effects is not None:
        effect("folio_lock")


@ported("mm/filemap.c", "folio_unlock")
def folio_unlock(folio: Folio) -> None:
    """Unlock the folio."""
    bug_on(not folio.locked, "folio_unlock: !folio_test_locked(folio)")
    folio.locked = False
    if machine.effects is not None:
        effect("folio_unlock")
    hook = machine.lock_hook
    if hook is not None:
        hook("folio_unlock", folio)


@ported("include/linux/pagemap.h", "folio_wait_locked")
def folio_wait_locked(folio: Folio) -> None:
    """Wait until the folio is unlocked, without taking the lock.

    Raises:
        KernelDeadlock: it is locked and no other task can unlock it.
    """
    while folio.locked:
        _folio_wait("folio_wait_locked", folio)


def _folio_wait(kind: str, folio: Folio) -> None:
    hook = machine.lock_hook
    if hook is None:
        msg = f"{kind}: locked already"
        raise KernelDeadlock(msg)
    hook("wait", folio)


@ported("include/linux/page-flags.h", "__folio_set_locked")
def _folio_set_locked(folio: Folio) -> None:
    """Set the lock bit of a folio that nobody else can see."""
    folio.locked = True


@ported("include/linux/page-flags.h", "__folio_clear_locked")
def _folio_clear_locked(folio: Folio) -> None:
    """Clear the lock bit of a folio that nobody else can see."""
    folio.locked = False


@ported("include/linux/page-flags.h", "folio_test_locked")
def folio_test_locked(folio: Folio) -> bool:
    """Whether the folio is locked."""
    return folio.locked


# ---- flags and counts ----


@ported("include/linux/page-flags.h", "folio_test_anon")
def folio_test_anon(folio: Folio) -> bool:
    """Whether the folio belongs to an anon_vma rather than to a file."""
    return type(folio.mapping) is AnonVma


@ported("include/linux/page-flags.h", "folio_test_hugetlb")
def folio_test_hugetlb(folio: Folio) -> bool:
    """Whether HugeTLB owns the folio."""
    return folio.hugetlb


@ported("include/linux/page-flags.h", "folio_test_hwpoison")
def folio_test_hwpoison(folio: Folio) -> bool:
    """Whether a memory error hit the folio."""
    return folio.hwpoison


@ported("include/linux/page-flags.h", "folio_test_uptodate")
def folio_test_uptodate(folio: Folio) -> bool:
    """Whether the contents are valid."""
    return folio.uptodate


@ported("include/linux/page-flags.h", "__folio_mark_uptodate")
def _folio_mark_uptodate(folio: Folio) -> None:
    """Say that the contents are valid."""
    folio.uptodate = True


@ported("mm/page-writeback.c", "folio_mark_dirty")
def folio_mark_dirty(folio: Folio) -> None:
    """Mark dirty; hugetlbfs never writes back, so this only keeps others from dropping it."""
    folio.dirty = True


@ported("mm/folio-compat.c", "set_page_dirty")
def set_page_dirty(page: Folio) -> None:
    """Mark dirty, as the zap of a dirty entry does."""
    page.dirty = True


@ported("include/linux/mm.h", "folio_nr_pages")
def folio_nr_pages(folio: Folio) -> int:
    """Base pages of the folio."""
    return 1 << folio.order


@ported("include/linux/mm.h", "folio_nid")
def folio_nid(folio: Folio) -> int:
    """Node of the folio's memory."""
    return folio.nid


@ported("include/linux/mm.h", "folio_mapcount")
def folio_mapcount(folio: Folio) -> int:
    """Number of page-table entries that map the folio."""
    return folio.mapcount


@ported("include/linux/mm.h", "folio_mapped")
def folio_mapped(folio: Folio) -> bool:
    """Whether any page-table entry maps the folio."""
    return folio.mapcount >= 1


@ported("include/linux/page-flags.h", "PageAnonExclusive")
def PageAnonExclusive(page: Folio) -> bool:
    """Whether the anonymous page belongs to one process alone."""
    return page.anon_exclusive


@ported("include/linux/page-flags.h", "SetPageAnonExclusive")
def SetPageAnonExclusive(page: Folio) -> None:
    """Say that the anonymous page belongs to one process alone."""
    bug_on(not folio_test_anon(page), "SetPageAnonExclusive: !PageAnonNotKsm(page)")
    page.anon_exclusive = True


@ported("include/linux/page-flags.h", "ClearPageAnonExclusive")
def ClearPageAnonExclusive(page: Folio) -> None:
    """Say that the anonymous page may be shared."""
    page.anon_exclusive = False


@ported("include/linux/mm.h", "folio_maybe_dma_pinned")
def folio_maybe_dma_pinned(folio: Folio) -> bool:
    """Whether the folio is pinned (exact for large folios)."""
    return folio.pincount > 0


@ported("mm/util.c", "folio_mapping")
def folio_mapping(folio: Folio) -> AddressSpace | None:
    """The page cache that the folio is in, or None."""
    mapping = folio.mapping
    return None if type(mapping) is AnonVma else mapping  # type: ignore[return-value]


# ---- HugeTLB's own flags (HPAGEFLAG in include/linux/hugetlb.h) ----


@ported("include/linux/hugetlb.h", "folio_test_hugetlb_restore_reserve")
def folio_test_hugetlb_restore_reserve(folio: Folio) -> bool:
    """Whether freeing the folio gives a global reservation back."""
    return folio.hpg & HPG_RESTORE_RESERVE != 0


@ported("include/linux/hugetlb.h", "folio_set_hugetlb_restore_reserve")
def folio_set_hugetlb_restore_reserve(folio: Folio) -> None:
    """Freeing the folio shall give a global reservation back."""
    folio.hpg |= HPG_RESTORE_RESERVE


@ported("include/linux/hugetlb.h", "folio_clear_hugetlb_restore_reserve")
def folio_clear_hugetlb_restore_reserve(folio: Folio) -> None:
    """Freeing the folio shall give no global reservation back."""
    folio.hpg &= ~HPG_RESTORE_RESERVE


@ported("include/linux/hugetlb.h", "folio_test_hugetlb_migratable")
def folio_test_hugetlb_migratable(folio: Folio) -> bool:
    """Whether the folio may be isolated for migration."""
    return folio.hpg & HPG_MIGRATABLE != 0


@ported("include/linux/hugetlb.h", "folio_set_hugetlb_migratable")
def folio_set_hugetlb_migratable(folio: Folio) -> None:
    """The folio is in use and may be isolated for migration."""
    folio.hpg |= HPG_MIGRATABLE


@ported("include/linux/hugetlb.h", "folio_clear_hugetlb_migratable")
def folio_clear_hugetlb_migratable(folio: Folio) -> None:
    """The folio may not be isolated for migration."""
    folio.hpg &= ~HPG_MIGRATABLE


@ported("include/linux/hugetlb.h", "folio_test_hugetlb_temporary")
def folio_test_hugetlb_temporary(folio: Folio) -> bool:
    """Whether the folio goes back to the buddy allocator when freed."""
    return folio.hpg & HPG_TEMPORARY != 0


@ported("include/linux/hugetlb.h", "folio_set_hugetlb_temporary")
def folio_set_hugetlb_temporary(folio: Folio) -> None:
    """The folio shall go back to the buddy allocator when freed."""
    folio.hpg |= HPG_TEMPORARY


@ported("include/linux/hugetlb.h", "folio_clear_hugetlb_temporary")
def folio_clear_hugetlb_temporary(folio: Folio) -> None:
    """The folio belongs to the pool."""
    folio.hpg &= ~HPG_TEMPORARY


@ported("include/linux/hugetlb.h", "folio_test_hugetlb_freed")
def folio_test_hugetlb_freed(folio: Folio) -> bool:
    """Whether the folio is on a free list."""
    return folio.hpg & HPG_FREED != 0


@ported("include/linux/hugetlb.h", "folio_set_hugetlb_freed")
def folio_set_hugetlb_freed(folio: Folio) -> None:
    """The folio is on a free list."""
    folio.hpg |= HPG_FREED


@ported("include/linux/hugetlb.h", "folio_clear_hugetlb_freed")
def folio_clear_hugetlb_freed(folio: Folio) -> None:
    """The folio is not on a free list."""
    folio.hpg &= ~HPG_FREED


@ported("include/linux/hugetlb.h", "folio_test_hugetlb_raw_hwp_unreliable")
def folio_test_hugetlb_raw_hwp_unreliable(folio: Folio) -> bool:
    """Whether the record of which base pages are poisoned is incomplete."""
    return folio.hpg & HPG_RAW_HWP_UNRELIABLE != 0


@ported("include/linux/hugetlb.h", "hugetlb_folio_subpool")
def hugetlb_folio_subpool(folio: Folio) -> Subpool | None:
    """The subpool that the folio was charged to, or None."""
    return folio.subpool


@ported("include/linux/hugetlb.h", "hugetlb_set_folio_subpool")
def hugetlb_set_folio_subpool(folio: Folio, subpool: Subpool | None) -> None:
    """Remember the subpool that the folio was charged to."""
    folio.subpool = subpool


# ---- contents: the 64-bit word at the start of the page stands for all of it ----


@ported("mm/memory.c", "folio_zero_user")
def folio_zero_user(folio: Folio, addr_hint: int) -> None:
    """Clear the folio; ``addr_hint`` (bytes) only sets the order of clearing."""
    folio.data = 0


@ported("mm/memory.c", "copy_user_large_folio")
def copy_user_large_folio(dst: Folio, src: Folio, addr_hint: int, vma: VmArea) -> int:
    """Copy the contents; returns 0 or -EHWPOISON when reading ``src`` hits a memory error."""
    if inject("copy_page"):
        return -EHWPOISON
    dst.data = src.data
    return 0


@ported("mm/memory.c", "copy_folio_from_user")
def copy_folio_from_user(dst_folio: Folio, usr_src: int, allow_pagefault: bool) -> int:
    """Copy from user space; ``usr_src`` is the word that is there, as sources are not modelled.

    Below 0 it stands for memory that nobody has touched: zeros, once a fault has brought them in.
    Returns 0, or the bytes not copied (here all or nothing) if the source is not present and
    faults are not allowed, or -EFAULT if the source is no memory at all.
    """
    if not allow_pagefault and (usr_src < 0 or inject("copy_from_user_atomic")):
        return 4096 << dst_folio.order
    if allow_pagefault and inject("copy_from_user"):
        return -EFAULT
    dst_folio.data = max(usr_src, 0)
    return 0
