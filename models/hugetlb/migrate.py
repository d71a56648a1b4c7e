"""Huge pages in migration: isolating, putting back, moving their state (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.errno import EAGAIN, EBUSY
from models.kernel.lists import ListHead, list_move_tail
from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.cgroup import hugetlb_cgroup_migrate
    from models.hugetlb.hstate import hugetlb_lock
    from models.hugetlb.inline import folio_hstate
    from models.kernel.memcg import mem_cgroup_migrate
    from models.kernel.migrate import folio_mc_copy
    from models.kernel.page import (
        folio_clear_hugetlb_migratable,
        folio_clear_hugetlb_temporary,
        folio_nid,
        folio_nr_pages,
        folio_put,
        folio_ref_add,
        folio_ref_freeze,
        folio_ref_unfreeze,
        folio_set_hugetlb_migratable,
        folio_set_hugetlb_temporary,
        folio_test_anon,
        folio_test_hugetlb,
        folio_test_hugetlb_freed,
        folio_test_hugetlb_migratable,
        folio_test_hugetlb_temporary,
        folio_try_get,
        hugetlb_folio_subpool,
        hugetlb_set_folio_subpool,
    )
    from models.kernel.structs import AddressSpace, Folio


@ported("mm/hugetlb.c", "isolate_hugetlb")
def isolate_hugetlb(folio: Folio, list: ListHead[Folio]) -> bool:
    """Take a folio that is in use onto ``list`` with a reference; whether it could be taken."""
    ret = True

    spin_lock_irq(hugetlb_lock)
    if (
        not folio_test_hugetlb(folio)
        or not folio_test_hugetlb_migratable(folio)
        or not folio_try_get(folio)
    ):
        ret = False
    else:
        folio_clear_hugetlb_migratable(folio)
        list_move_tail(folio.lru, list)
    spin_unlock_irq(hugetlb_lock)
    return ret


@ported("mm/hugetlb.c", "get_hwpoison_hugetlb_folio")
def get_hwpoison_hugetlb_folio(folio: Folio, unpoison: bool) -> tuple[int, bool]:
    """Take a reference for the handling of a memory error.

    Returns 1 if it was taken, 0 if the folio is free, or -EBUSY; and whether HugeTLB owns it.
    """
    ret = 0
    hugetlb = False

    spin_lock_irq(hugetlb_lock)
    if folio_test_hugetlb(folio):
        hugetlb = True
        if folio_test_hugetlb_freed(folio):
            ret = 0
        elif folio_test_hugetlb_migratable(folio) or unpoison:
            ret = int(folio_try_get(folio))
        else:
            ret = -EBUSY
    spin_unlock_irq(hugetlb_lock)
    return ret, hugetlb


@ported("mm/hugetlb.c", "folio_putback_active_hugetlb")
def folio_putback_active_hugetlb(folio: Folio) -> None:
    """Put an isolated folio back onto the active list, and drop the reference of isolation."""
    spin_lock_irq(hugetlb_lock)
    folio_set_hugetlb_migratable(folio)
    list_move_tail(folio.lru, folio_hstate(folio).hugepage_activelist)
    spin_unlock_irq(hugetlb_lock)
    folio_put(folio)


@ported("mm/hugetlb.c", "move_hugetlb_state")
def move_hugetlb_state(old_folio: Folio, new_folio: Folio, reason: int) -> None:
    """Move charges to the new folio; if it was temporary, the old one is from now on.

    The surplus that the pages' nodes count moves along, so that it sums up to the global one.
    """
    h = folio_hstate(old_folio)

    hugetlb_cgroup_migrate(old_folio, new_folio)

    if folio_test_hugetlb_temporary(new_folio):
        old_nid = folio_nid(old_folio)
        new_nid = folio_nid(new_folio)

        folio_set_hugetlb_temporary(old_folio)
        folio_clear_hugetlb_temporary(new_folio)

        if new_nid == old_nid:
            return
        spin_lock_irq(hugetlb_lock)
        if h.surplus_huge_pages_node[old_nid]:
            h.surplus_huge_pages_node[old_nid] -= 1
            h.surplus_huge_pages_node[new_nid] = (
                h.surplus_huge_pages_node[new_nid] + 1
            ) & 0xFFFFFFFF
        spin_unlock_irq(hugetlb_lock)


# ---- the page cache's side (fs/hugetlbfs/inode.c, mm/migrate.c) ----


@ported("mm/migrate.c", "folio_migrate_flags")
def folio_migrate_flags(newfolio: Folio, folio: Folio) -> None:
    """Carry the page flags and the memory cgroup over to the folio that replaces it."""
    if folio.uptodate:
        newfolio.uptodate = True
    if folio.dirty:
        newfolio.dirty = True
    mem_cgroup_migrate(folio, newfolio)


@ported("include/linux/mm.h", "folio_expected_ref_count")
def folio_expected_ref_count(folio: Folio) -> int:
    """References that the page cache and the page tables hold."""
    ref_count = 0
    if not folio_test_anon(folio) and folio.mapping is not None:
        ref_count += folio_nr_pages(folio)
    return ref_count + folio.mapcount


@ported("mm/migrate.c", "migrate_huge_page_move_mapping")
def migrate_huge_page_move_mapping(mapping: AddressSpace, dst: Folio, src: Folio) -> int:
    """Put ``dst`` in the place of ``src`` in the page cache: 0 or -errno."""
    expected_count = folio_expected_ref_count(src) + 1
    if src.refcount != expected_count:
        return -EAGAIN
    rc = folio_mc_copy(dst, src)
    if rc:
        return rc
    if not folio_ref_freeze(src, expected_count):
        return -EAGAIN
    dst.index = src.index
    dst.mapping = src.mapping
    folio_ref_add(dst, folio_nr_pages(dst))
    mapping.pages[src.index >> src.order] = dst
    folio_ref_unfreeze(src, expected_count - folio_nr_pages(src))
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_migrate_folio")
def hugetlbfs_migrate_folio(mapping: AddressSpace, dst: Folio, src: Folio) -> int:
    """Migrate a folio of the page cache, with the subpool that it was charged to: 0 or -errno."""
    rc = migrate_huge_page_move_mapping(mapping, dst, src)
    if rc:
        return rc
    if hugetlb_folio_subpool(src):
        hugetlb_set_folio_subpool(dst, hugetlb_folio_subpool(src))
        hugetlb_set_folio_subpool(src, None)
    folio_migrate_flags(dst, src)
    return 0
