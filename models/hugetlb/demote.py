"""Demotion: free huge pages of one size become free huge pages of a smaller one (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.hstate import HUGETLB_PAGE_ORDER
from models.hugetlb.structs import (
    HPG_VMEMMAP_OPTIMIZED,
    HState,
    huge_page_order,
    pages_per_huge_page,
)
from models.kernel.errno import EBUSY, EINVAL, ENOENT
from models.kernel.lists import ListHead, list_add, list_del, list_entries, list_splice_init
from models.kernel.locks import (
    lockdep_assert_held,
    mutex_lock,
    mutex_unlock,
    spin_lock_irq,
    spin_unlock_irq,
)
from models.kernel.machine import ULONG_MAX
from models.kernel.nodes import N_MEMORY, node_isset
from models.kernel.port import ported
from models.kernel.structs import NUMA_NO_NODE, PAGE_SIZE, Folio

if TYPE_CHECKING:
    from models.hugetlb.folio_list import (
        add_hugetlb_folio,
        hugetlb_vmemmap_restore_folios,
        init_new_hugetlb_folio,
        remove_hugetlb_folio,
    )
    from models.hugetlb.hstate import (
        for_each_node_mask_to_free,
        hugetlb_lock,
        size_to_hstate,
    )
    from models.hugetlb.pool import kstrtoul, prep_and_add_allocated_folios
    from models.kernel.nodes import node_states


@ported("mm/hugetlb.c", "demote_free_hugetlb_folios")
def demote_free_hugetlb_folios(src: HState, dst: HState, src_list: ListHead[Folio]) -> int:
    """Split removed folios of ``src`` into folios of ``dst`` and add these to its pool.

    What could not be split stays on the list. Returns 0 or more, or -errno of the vmemmap.
    """
    dst_list: ListHead[Folio] = ListHead()
    ret_list: ListHead[Folio] = ListHead()
    rc = hugetlb_vmemmap_restore_folios(src, src_list, ret_list)
    list_splice_init(ret_list, src_list)
    # The larger size's mutex is held already, always taken first.
    mutex_lock(dst.resize_lock)
    for folio in list_entries(src_list):
        if folio.hpg & HPG_VMEMMAP_OPTIMIZED:
            continue
        list_del(folio.lru)
        for i in range(0, pages_per_huge_page(src), pages_per_huge_page(dst)):
            page = prep_compound_page(folio, i, dst.order)
            init_new_hugetlb_folio(dst, page)
            list_add(page.lru, dst_list)
    prep_and_add_allocated_folios(dst, dst_list)
    mutex_unlock(dst.resize_lock)
    return rc


@ported("mm/page_alloc.c", "prep_compound_page")
def prep_compound_page(folio: Folio, i: int, order: int) -> Folio:
    """Base page ``i`` of a frozen folio as head of a compound page of its own, frozen as well."""
    page = Folio(folio.pfn + i, folio.nid, order)
    page.refcount = 0
    page.data = folio.data if i == 0 else 0
    return page


@ported("mm/hugetlb.c", "demote_pool_huge_page")
def demote_pool_huge_page(src: HState, nodes_allowed: int, nr_to_demote: int) -> int:
    """Demote up to ``nr_to_demote`` free pages of the next of the allowed nodes on; returns how
    many were, or -EBUSY (all are poisoned) or -errno. hugetlb_lock is held, but dropped meanwhile.
    """
    rc = 0
    nr_demoted = 0
    lockdep_assert_held(hugetlb_lock)
    if not src.demote_order:
        return -EINVAL
    dst = size_to_hstate(PAGE_SIZE << src.demote_order)
    assert dst is not None
    for node in for_each_node_mask_to_free(src, nodes_allowed):
        demoted: ListHead[Folio] = ListHead()
        for folio in list_entries(src.hugepage_freelists[node]):
            if folio.hwpoison:
                continue
            remove_hugetlb_folio(src, folio, False)
            list_add(folio.lru, demoted)
            nr_demoted += 1
            if nr_demoted == nr_to_demote:
                break
        spin_unlock_irq(hugetlb_lock)
        rc = demote_free_hugetlb_folios(src, dst, demoted)
        spin_lock_irq(hugetlb_lock)
        for folio in list_entries(demoted):
            list_del(folio.lru)
            add_hugetlb_folio(src, folio, False)
            nr_demoted -= 1
        if rc < 0 or nr_demoted == nr_to_demote:
            break
    src.max_huge_pages = (src.max_huge_pages - nr_demoted) & ULONG_MAX
    dst.max_huge_pages = (
        dst.max_huge_pages + (nr_demoted << (huge_page_order(src) - huge_page_order(dst)))
    ) & ULONG_MAX
    if rc < 0:
        return rc
    if nr_demoted:
        return nr_demoted
    return -EBUSY


@ported("mm/hugetlb.c", "demote_store")
def demote_store(h: HState, nr_demote: int, nid: int = NUMA_NO_NODE) -> int:
    """Write to demote of the hstate, or of one node: demote so many huge pages, as far as there are
    free ones that nobody has reserved. 0 or -errno; an hstate of the smallest size has no file."""
    if not h.demote_order:
        return -ENOENT
    if nid != NUMA_NO_NODE and (nid < 0 or not node_isset(nid, node_states[N_MEMORY])):
        return -ENOENT
    err = kstrtoul(nr_demote)
    if err:
        return err
    n_mask = 1 << nid if nid != NUMA_NO_NODE else node_states[N_MEMORY]
    mutex_lock(h.resize_lock)
    spin_lock_irq(hugetlb_lock)
    while nr_demote:
        if nid != NUMA_NO_NODE:
            nr_available = h.free_huge_pages_node[nid]
        else:
            nr_available = h.free_huge_pages
        nr_available = (nr_available - h.resv_huge_pages) & ULONG_MAX
        if not nr_available:
            break
        rc = demote_pool_huge_page(h, n_mask, nr_demote)
        if rc < 0:
            err = rc
            break
        nr_demote -= rc
    spin_unlock_irq(hugetlb_lock)
    mutex_unlock(h.resize_lock)
    return err


@ported("mm/hugetlb.c", "demote_size_store")
def demote_size_store(h: HState, demote_size: int) -> int:
    """Write to demote_size (bytes): what pages of the hstate are demoted to. 0 or -errno."""
    if not h.demote_order:
        return -ENOENT
    demote_hstate = size_to_hstate(demote_size)
    if demote_hstate is None:
        return -EINVAL
    demote_order = demote_hstate.order
    if demote_order < HUGETLB_PAGE_ORDER:
        return -EINVAL
    if demote_order >= h.order:
        return -EINVAL
    mutex_lock(h.resize_lock)
    h.demote_order = demote_order
    mutex_unlock(h.resize_lock)
    return 0
