"""Folios in and out of an hstate's lists and counters (mm/hugetlb.c).

Per-node counters are ``unsigned int``, the others ``unsigned long``: both wrap. The hugetlb vmemmap
optimisation is off, as in the recorded kernel, so that its part of a free changes nothing; what the
C does when it is on is ported all the same, but cannot be reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import (
    HPG_FREED,
    HPG_MIGRATABLE,
    HPG_RAW_HWP_UNRELIABLE,
    HPG_RESTORE_RESERVE,
    HPG_TEMPORARY,
    HPG_VMEMMAP_OPTIMIZED,
    HState,
    pages_per_huge_page,
)
from models.kernel.lists import (
    INIT_LIST_HEAD,
    ListHead,
    list_del,
    list_empty,
    list_entries,
    list_move,
    list_splice_init,
)
from models.kernel.locks import (
    lockdep_assert_held,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from models.kernel.machine import ULONG_MAX, bug_on, warn_on
from models.kernel.nodes import cpuset_zone_allowed, node_zonelist, numa_node_id
from models.kernel.port import ported, static_data
from models.kernel.structs import NUMA_NO_NODE, Folio

if TYPE_CHECKING:
    from models.hugetlb.cgroup import (
        hugetlb_cgroup_uncharge_folio,
        hugetlb_cgroup_uncharge_folio_rsvd,
        set_hugetlb_cgroup,
        set_hugetlb_cgroup_rsvd,
    )
    from models.hugetlb.hstate import (
        hstate_is_gigantic_no_runtime,
        hugetlb_lock,
        size_to_hstate,
    )
    from models.hugetlb.inline import folio_hstate, hstate_index
    from models.hugetlb.subpool import hugepage_subpool_put_pages
    from models.kernel.memcg import mem_cgroup_uncharge
    from models.kernel.memory_failure import folio_clear_hugetlb_hwpoison
    from models.kernel.page import (
        ClearPageAnonExclusive,
        folio_put,
        folio_ref_unfreeze,
        folio_test_anon,
    )

#: Per-node counters wrap at 32 bits.
UINT_MAX: Final = (1 << 32) - 1

#: Folios that wait until their vmemmap can be allocated (free_hpage_work).
hpage_freelist: list[Folio]


@static_data
def folio_list_static() -> None:
    """Nothing waits to be freed."""
    global hpage_freelist
    hpage_freelist = []


@ported("mm/hugetlb.c", "hugetlb_free_folio")
def hugetlb_free_folio(folio: Folio) -> None:
    """Drop the last reference of a folio that HugeTLB no longer owns."""
    folio_put(folio)


# ---- onto and off the free lists ----


@ported("mm/hugetlb.c", "enqueue_hugetlb_folio")
def enqueue_hugetlb_folio(h: HState, folio: Folio) -> None:
    """Put a folio at the front of its node's free list. hugetlb_lock is held."""
    nid = folio.nid
    lockdep_assert_held(hugetlb_lock)
    bug_on(folio.refcount, "enqueue_hugetlb_folio: folio_ref_count(folio)")
    list_move(folio.lru, h.hugepage_freelists[nid])
    h.free_huge_pages = (h.free_huge_pages + 1) & ULONG_MAX
    h.free_huge_pages_node[nid] = (h.free_huge_pages_node[nid] + 1) & UINT_MAX
    folio.hpg |= HPG_FREED


@ported("mm/hugetlb.c", "dequeue_hugetlb_folio_node_exact")
def dequeue_hugetlb_folio_node_exact(h: HState, nid: int) -> Folio | None:
    """Take the first sound folio of a node's free list, or None. hugetlb_lock is held.

    No node has movable or CMA memory, so that a task about to pin for long can use every folio.
    """
    lockdep_assert_held(hugetlb_lock)
    for folio in list_entries(h.hugepage_freelists[nid]):
        if folio.hwpoison:
            continue
        list_move(folio.lru, h.hugepage_activelist)
        folio_ref_unfreeze(folio, 1)
        folio.hpg &= ~HPG_FREED
        h.free_huge_pages = (h.free_huge_pages - 1) & ULONG_MAX
        h.free_huge_pages_node[nid] = (h.free_huge_pages_node[nid] - 1) & UINT_MAX
        return folio
    return None


@ported("mm/hugetlb.c", "dequeue_hugetlb_folio_nodemask")
def dequeue_hugetlb_folio_nodemask(
    h: HState, gfp_mask: int, nid: int, nmask: int | None
) -> Folio | None:
    """Take a free folio from the first node that has one, in the order of the zonelist of ``nid``
    and as far as ``nmask`` (None: any) and the cpuset allow; or None. hugetlb_lock is held."""
    if nid == NUMA_NO_NODE:
        nid = numa_node_id()
    for node in node_zonelist(nid, gfp_mask):
        if nmask is not None and not nmask >> node & 1:
            continue
        if not cpuset_zone_allowed(node, gfp_mask):
            continue
        folio = dequeue_hugetlb_folio_node_exact(h, node)
        if folio is not None:
            return folio
    return None


@ported("mm/hugetlb.c", "available_huge_pages")
def available_huge_pages(h: HState) -> int:
    """Free huge pages that nobody has reserved, as an unsigned number: too many reservations make
    it huge."""
    return (h.free_huge_pages - h.resv_huge_pages) & ULONG_MAX


# ---- into and out of the pool ----


@ported("mm/hugetlb.c", "remove_hugetlb_folio")
def remove_hugetlb_folio(h: HState, folio: Folio, adjust_surplus: bool) -> None:
    """Take a folio off its list and out of the pool's counters. hugetlb_lock is held."""
    nid = folio.nid
    bug_on(folio._hugetlb_cgroup, "remove_hugetlb_folio: hugetlb_cgroup_from_folio(folio)")
    bug_on(
        folio._hugetlb_cgroup_rsvd, "remove_hugetlb_folio: hugetlb_cgroup_from_folio_rsvd(folio)"
    )
    lockdep_assert_held(hugetlb_lock)
    if hstate_is_gigantic_no_runtime(h):
        return
    list_del(folio.lru)
    if folio.hpg & HPG_FREED:
        folio.hpg &= ~HPG_FREED
        h.free_huge_pages = (h.free_huge_pages - 1) & ULONG_MAX
        h.free_huge_pages_node[nid] = (h.free_huge_pages_node[nid] - 1) & UINT_MAX
    if adjust_surplus:
        h.surplus_huge_pages = (h.surplus_huge_pages - 1) & ULONG_MAX
        h.surplus_huge_pages_node[nid] = (h.surplus_huge_pages_node[nid] - 1) & UINT_MAX
    if not folio.hpg & HPG_VMEMMAP_OPTIMIZED:
        _folio_clear_hugetlb(folio)
    h.nr_huge_pages = (h.nr_huge_pages - 1) & ULONG_MAX
    h.nr_huge_pages_node[nid] = (h.nr_huge_pages_node[nid] - 1) & UINT_MAX


@ported("mm/hugetlb.c", "add_hugetlb_folio")
def add_hugetlb_folio(h: HState, folio: Folio, adjust_surplus: bool) -> None:
    """Put back into the pool a folio whose vmemmap could not be restored. hugetlb_lock is held."""
    nid = folio.nid
    bug_on(
        not folio.hpg & HPG_VMEMMAP_OPTIMIZED,
        "add_hugetlb_folio: !folio_test_hugetlb_vmemmap_optimized(folio)",
    )
    lockdep_assert_held(hugetlb_lock)
    INIT_LIST_HEAD(folio.lru)
    h.nr_huge_pages = (h.nr_huge_pages + 1) & ULONG_MAX
    h.nr_huge_pages_node[nid] = (h.nr_huge_pages_node[nid] + 1) & UINT_MAX
    if adjust_surplus:
        h.surplus_huge_pages = (h.surplus_huge_pages + 1) & ULONG_MAX
        h.surplus_huge_pages_node[nid] = (h.surplus_huge_pages_node[nid] + 1) & UINT_MAX
    _folio_set_hugetlb(folio)
    folio.hpg = 0
    folio.hpg |= HPG_VMEMMAP_OPTIMIZED
    enqueue_hugetlb_folio(h, folio)


@ported("include/linux/page-flags.h", "__folio_clear_hugetlb")
def _folio_clear_hugetlb(folio: Folio) -> None:
    """From now on HugeTLB does not own the folio."""
    folio.hugetlb = False


@ported("include/linux/page-flags.h", "__folio_set_hugetlb")
def _folio_set_hugetlb(folio: Folio) -> None:
    """From now on HugeTLB owns the folio."""
    folio.hugetlb = True


# ---- back to the page allocator ----


@ported("mm/hugetlb_vmemmap.h", "hugetlb_vmemmap_restore_folio")
def hugetlb_vmemmap_restore_folio(h: HState, folio: Folio) -> int:
    """Give a folio all of its struct pages back; without the optimisation they are there: 0."""
    return 0


@ported("mm/hugetlb_vmemmap.h", "hugetlb_vmemmap_restore_folios")
def hugetlb_vmemmap_restore_folios(
    h: HState, folio_list: ListHead[Folio], non_hvo_folios: ListHead[Folio]
) -> int:
    """The same for a list, which moves to ``non_hvo_folios``: 0."""
    list_splice_init(folio_list, non_hvo_folios)
    return 0


@ported("mm/hugetlb_vmemmap.h", "hugetlb_vmemmap_optimizable")
def hugetlb_vmemmap_optimizable(h: HState) -> bool:
    """Whether struct pages of the hstate can be freed: the optimisation is off."""
    return False


@ported("mm/hugetlb.c", "__update_and_free_hugetlb_folio")
def _update_and_free_hugetlb_folio(h: HState, folio: Folio) -> None:
    """Give a folio that was removed from the pool back to the page allocator."""
    clear_flag = folio.hpg & HPG_VMEMMAP_OPTIMIZED != 0
    if hstate_is_gigantic_no_runtime(h):
        return
    if folio.hpg & HPG_RAW_HWP_UNRELIABLE:
        return
    if clear_flag and hugetlb_vmemmap_restore_folio(h, folio):
        spin_lock_irq(hugetlb_lock)
        add_hugetlb_folio(h, folio, True)
        spin_unlock_irq(hugetlb_lock)
        return
    if folio.hugetlb:
        spin_lock_irq(hugetlb_lock)
        _folio_clear_hugetlb(folio)
        spin_unlock_irq(hugetlb_lock)
    if folio.hwpoison:
        folio_clear_hugetlb_hwpoison(folio)
    folio_ref_unfreeze(folio, 1)
    hugetlb_free_folio(folio)


@ported("mm/hugetlb.c", "free_hpage_workfn")
def free_hpage_workfn() -> None:
    """Free the folios that wait for it."""
    node = hpage_freelist[::-1]
    hpage_freelist.clear()
    for folio in node:
        folio.mapping = None
        h = size_to_hstate(4096 << folio.order)
        assert h is not None
        _update_and_free_hugetlb_folio(h, folio)


@ported("mm/hugetlb.c", "flush_free_hpage_work")
def flush_free_hpage_work(h: HState) -> None:
    """Wait until folios of the hstate that wait to be freed are."""
    if hugetlb_vmemmap_optimizable(h):
        free_hpage_workfn()


@ported("mm/hugetlb.c", "wait_for_freed_hugetlb_folios")
def wait_for_freed_hugetlb_folios() -> None:
    """Wait until all folios that wait to be freed are."""
    if not hpage_freelist:
        return
    free_hpage_workfn()


@ported("mm/hugetlb.c", "update_and_free_hugetlb_folio")
def update_and_free_hugetlb_folio(h: HState, folio: Folio, atomic: bool) -> None:
    """Give a folio back to the page allocator, later if that might sleep and must not."""
    if not folio.hpg & HPG_VMEMMAP_OPTIMIZED or not atomic:
        _update_and_free_hugetlb_folio(h, folio)
        return
    hpage_freelist.append(folio)


@ported("mm/hugetlb.c", "bulk_vmemmap_restore_error")
def bulk_vmemmap_restore_error(
    h: HState, folio_list: ListHead[Folio], non_hvo_folios: ListHead[Folio]
) -> None:
    """After a failed restore, free what can be freed, so that the rest may be tried again."""
    if not list_empty(non_hvo_folios):
        for folio in list_entries(non_hvo_folios):
            list_del(folio.lru)
            spin_lock_irq(hugetlb_lock)
            _folio_clear_hugetlb(folio)
            spin_unlock_irq(hugetlb_lock)
            update_and_free_hugetlb_folio(h, folio, False)
    else:
        for folio in list_entries(folio_list):
            if hugetlb_vmemmap_restore_folio(h, folio):
                list_del(folio.lru)
                spin_lock_irq(hugetlb_lock)
                add_hugetlb_folio(h, folio, True)
                spin_unlock_irq(hugetlb_lock)
            else:
                list_del(folio.lru)
                spin_lock_irq(hugetlb_lock)
                _folio_clear_hugetlb(folio)
                spin_unlock_irq(hugetlb_lock)
                update_and_free_hugetlb_folio(h, folio, False)
                break


@ported("mm/hugetlb.c", "update_and_free_pages_bulk")
def update_and_free_pages_bulk(h: HState, folio_list: ListHead[Folio]) -> None:
    """Give a list of removed folios back to the page allocator."""
    non_hvo_folios: ListHead[Folio] = ListHead()
    while True:
        ret = hugetlb_vmemmap_restore_folios(h, folio_list, non_hvo_folios)
        if ret >= 0:
            break
        bulk_vmemmap_restore_error(h, folio_list, non_hvo_folios)
    warn_on(not list_empty(folio_list), "!list_empty(folio_list)")
    warn_on(ret < 0, "ret < 0")
    if not list_empty(non_hvo_folios) and ret:
        spin_lock_irq(hugetlb_lock)
        for folio in list_entries(non_hvo_folios):
            _folio_clear_hugetlb(folio)
        spin_unlock_irq(hugetlb_lock)
    for folio in list_entries(non_hvo_folios):
        # The page allocator uses the link for itself.
        list_del(folio.lru)
        update_and_free_hugetlb_folio(h, folio, False)


@ported("include/asm-generic/hugetlb.h", "arch_clear_hugetlb_flags")
def arch_clear_hugetlb_flags(folio: Folio) -> None:
    """x86 keeps no flags of its own on huge pages."""


@ported("mm/hugetlb.c", "free_huge_folio")
def free_huge_folio(folio: Folio) -> None:
    """The last reference is gone: back to the free list, or to the page allocator if the folio is
    temporary or its node has surplus."""
    h = folio_hstate(folio)
    nid = folio.nid
    spool = folio.subpool
    bug_on(folio.refcount, "free_huge_folio: folio_ref_count(folio)")
    bug_on(folio.mapcount, "free_huge_folio: folio_mapcount(folio)")
    folio.subpool = None
    if folio_test_anon(folio):
        ClearPageAnonExclusive(folio)
    folio.mapping = None
    restore_reserve = folio.hpg & HPG_RESTORE_RESERVE != 0
    folio.hpg &= ~HPG_RESTORE_RESERVE
    # Zero: the subpool falls below its minimum unless the reservation is restored.
    if not restore_reserve and hugepage_subpool_put_pages(spool, 1) == 0:
        restore_reserve = True
    spin_lock_irqsave(hugetlb_lock)
    folio.hpg &= ~HPG_MIGRATABLE
    hugetlb_cgroup_uncharge_folio(hstate_index(h), pages_per_huge_page(h), folio)
    hugetlb_cgroup_uncharge_folio_rsvd(hstate_index(h), pages_per_huge_page(h), folio)
    mem_cgroup_uncharge(folio)
    if restore_reserve:
        h.resv_huge_pages = (h.resv_huge_pages + 1) & ULONG_MAX
    if folio.hpg & HPG_TEMPORARY:
        remove_hugetlb_folio(h, folio, False)
        spin_unlock_irqrestore(hugetlb_lock)
        update_and_free_hugetlb_folio(h, folio, True)
    elif h.surplus_huge_pages_node[nid]:
        remove_hugetlb_folio(h, folio, True)
        spin_unlock_irqrestore(hugetlb_lock)
        update_and_free_hugetlb_folio(h, folio, True)
    else:
        arch_clear_hugetlb_flags(folio)
        enqueue_hugetlb_folio(h, folio)
        spin_unlock_irqrestore(hugetlb_lock)


# ---- new folios ----


@ported("mm/hugetlb.c", "__prep_account_new_huge_page")
def _prep_account_new_huge_page(h: HState, nid: int) -> None:
    """Count one more huge page on the node. hugetlb_lock is held."""
    lockdep_assert_held(hugetlb_lock)
    h.nr_huge_pages = (h.nr_huge_pages + 1) & ULONG_MAX
    h.nr_huge_pages_node[nid] = (h.nr_huge_pages_node[nid] + 1) & UINT_MAX


@ported("mm/hugetlb.c", "init_new_hugetlb_folio")
def init_new_hugetlb_folio(h: HState, folio: Folio) -> None:
    """Make a compound page one of HugeTLB's."""
    _folio_set_hugetlb(folio)
    INIT_LIST_HEAD(folio.lru)
    folio.subpool = None
    set_hugetlb_cgroup(folio, None)
    set_hugetlb_cgroup_rsvd(folio, None)


@ported("mm/hugetlb.c", "__prep_new_hugetlb_folio")
def _prep_new_hugetlb_folio(h: HState, folio: Folio) -> None:
    """Make a compound page one of HugeTLB's (and free what the vmemmap optimisation can)."""
    init_new_hugetlb_folio(h, folio)


@ported("mm/hugetlb.c", "prep_new_hugetlb_folio")
def prep_new_hugetlb_folio(h: HState, folio: Folio, nid: int) -> None:
    """Make a compound page one of HugeTLB's and count it."""
    _prep_new_hugetlb_folio(h, folio)
    spin_lock_irq(hugetlb_lock)
    _prep_account_new_huge_page(h, nid)
    spin_unlock_irq(hugetlb_lock)
