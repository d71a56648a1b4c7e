"""The size of the pools: nr_hugepages in all its forms, and overcommit (mm/hugetlb.c).

Counts are huge pages of the hstate. Where the C is handed a sysfs object that leads to an hstate
and a node, functions here take the two; the length that a store returns on success is 0 here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.folio_list import UINT_MAX
from models.hugetlb.structs import HState, hstate_is_gigantic
from models.kernel.errno import EINVAL, ENOENT, ERANGE
from models.kernel.gfp import _GFP_THISNODE
from models.kernel.lists import ListHead, list_add, list_empty, list_entries, list_first_entry
from models.kernel.locks import (
    lockdep_assert_held,
    mutex_lock,
    mutex_unlock,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from models.kernel.machine import ULONG_MAX, bug_on
from models.kernel.nodes import N_MEMORY, node_isset
from models.kernel.port import ported
from models.kernel.structs import NUMA_NO_NODE, Folio

if TYPE_CHECKING:
    from models.hugetlb.folio_list import (
        _prep_account_new_huge_page,
        enqueue_hugetlb_folio,
        flush_free_hpage_work,
        remove_hugetlb_folio,
        update_and_free_pages_bulk,
    )
    from models.hugetlb.hstate import (
        default_hstate,
        for_each_node_mask_to_alloc,
        for_each_node_mask_to_free,
        hstate_is_gigantic_no_runtime,
        htlb_alloc_mask,
        hugetlb_lock,
    )
    from models.hugetlb.surplus import only_alloc_fresh_hugetlb_folio
    from models.kernel.mempolicy import init_nodemask_of_mempolicy
    from models.kernel.nodes import node_states


@ported("mm/hugetlb.c", "persistent_huge_pages")
def persistent_huge_pages(h: HState) -> int:
    """Huge pages that are not surplus."""
    return (h.nr_huge_pages - h.surplus_huge_pages) & ULONG_MAX


@ported("mm/hugetlb.c", "prep_and_add_allocated_folios")
def prep_and_add_allocated_folios(h: HState, folio_list: ListHead[Folio]) -> None:
    """Count fresh folios and put them on the free lists, the last of the list in front."""
    spin_lock_irqsave(hugetlb_lock)
    for folio in list_entries(folio_list):
        _prep_account_new_huge_page(h, folio.nid)
        enqueue_hugetlb_folio(h, folio)
    spin_unlock_irqrestore(hugetlb_lock)


@ported("mm/hugetlb.c", "alloc_pool_huge_folio")
def alloc_pool_huge_folio(
    h: HState, nodes_allowed: int, node_alloc_noretry: set[int] | None
) -> Folio | None:
    """A fresh folio from the next of the allowed nodes that has one, frozen and not counted yet, or
    None. The C takes a pointer to the node cursor, at run time always that of the hstate."""
    gfp_mask = htlb_alloc_mask(h) | _GFP_THISNODE
    for node in for_each_node_mask_to_alloc(h, nodes_allowed):
        folio = only_alloc_fresh_hugetlb_folio(h, gfp_mask, node, nodes_allowed, node_alloc_noretry)
        if folio is not None:
            return folio
    return None


@ported("mm/hugetlb.c", "remove_pool_hugetlb_folio")
def remove_pool_hugetlb_folio(h: HState, nodes_allowed: int, acct_surplus: bool) -> Folio | None:
    """Remove a free folio from the next of the allowed nodes that has one (with ``acct_surplus``:
    that has surplus too), or return None. hugetlb_lock is held."""
    folio: Folio | None = None
    lockdep_assert_held(hugetlb_lock)
    for node in for_each_node_mask_to_free(h, nodes_allowed):
        if (not acct_surplus or h.surplus_huge_pages_node[node]) and not list_empty(
            h.hugepage_freelists[node]
        ):
            folio = list_first_entry(h.hugepage_freelists[node])
            remove_hugetlb_folio(h, folio, acct_surplus)
            break
    return folio


@ported("mm/hugetlb.c", "try_to_free_low")
def try_to_free_low(h: HState, count: int, nodes_allowed: int) -> None:
    """Free low memory first: nothing to do without high memory."""


@ported("mm/hugetlb.c", "adjust_pool_surplus")
def adjust_pool_surplus(h: HState, nodes_allowed: int, delta: int) -> int:
    """Make one page surplus (``delta`` 1) or no longer so (-1), on the next allowed node that can;
    returns 1 if there was one. hugetlb_lock is held."""
    lockdep_assert_held(hugetlb_lock)
    bug_on(delta not in (-1, 1), "delta != -1 && delta != 1")
    found = NUMA_NO_NODE
    if delta < 0:
        for node in for_each_node_mask_to_alloc(h, nodes_allowed):
            if h.surplus_huge_pages_node[node]:
                found = node
                break
    else:
        for node in for_each_node_mask_to_free(h, nodes_allowed):
            if h.surplus_huge_pages_node[node] < h.nr_huge_pages_node[node]:
                found = node
                break
    if found == NUMA_NO_NODE:
        return 0
    h.surplus_huge_pages = (h.surplus_huge_pages + delta) & ULONG_MAX
    h.surplus_huge_pages_node[found] = (h.surplus_huge_pages_node[found] + delta) & UINT_MAX
    return 1


@ported("mm/hugetlb.c", "set_max_huge_pages")
def set_max_huge_pages(h: HState, count: int, nid: int, nodes_allowed: int) -> int:
    """Make the pool ``count`` persistent huge pages large (on node ``nid``, unless that is
    NUMA_NO_NODE), as far as the page allocator and pages in use and reserved allow; returns 0."""
    page_list: ListHead[Folio] = ListHead()
    node_alloc_noretry: set[int] = set()
    mutex_lock(h.resize_lock)
    flush_free_hpage_work(h)
    spin_lock_irq(hugetlb_lock)
    if nid != NUMA_NO_NODE:
        old_count = count
        count = (
            count
            + persistent_huge_pages(h)
            - ((h.nr_huge_pages_node[nid] - h.surplus_huge_pages_node[nid]) & UINT_MAX)
        ) & ULONG_MAX
        if count < old_count:
            count = ULONG_MAX
    # First take pages out of surplus state, then allocate what is still missing.
    while h.surplus_huge_pages and count > persistent_huge_pages(h):
        if not adjust_pool_surplus(h, nodes_allowed, -1):
            break
    allocated = 0
    failed = False
    while count > ((persistent_huge_pages(h) + allocated) & ULONG_MAX):
        spin_unlock_irq(hugetlb_lock)
        folio = alloc_pool_huge_folio(h, nodes_allowed, node_alloc_noretry)
        if folio is None:
            prep_and_add_allocated_folios(h, page_list)
            spin_lock_irq(hugetlb_lock)
            failed = True
            break
        list_add(folio.lru, page_list)
        allocated += 1
        # No signal interrupts this: a process that dies ends between operations.
        spin_lock_irq(hugetlb_lock)
    if not failed:
        if not list_empty(page_list):
            spin_unlock_irq(hugetlb_lock)
            prep_and_add_allocated_folios(h, page_list)
            spin_lock_irq(hugetlb_lock)
        # Free pages go first, but never those that reservations need; pages in use become surplus
        # whatever overcommit says.
        min_count = (h.resv_huge_pages + h.nr_huge_pages - h.free_huge_pages) & ULONG_MAX
        min_count = max(count, min_count)
        try_to_free_low(h, min_count, nodes_allowed)
        while min_count < persistent_huge_pages(h):
            folio = remove_pool_hugetlb_folio(h, nodes_allowed, False)
            if folio is None:
                break
            list_add(folio.lru, page_list)
        spin_unlock_irq(hugetlb_lock)
        update_and_free_pages_bulk(h, page_list)
        flush_free_hpage_work(h)
        spin_lock_irq(hugetlb_lock)
        while count < persistent_huge_pages(h):
            if not adjust_pool_surplus(h, nodes_allowed, 1):
                break
    h.max_huge_pages = persistent_huge_pages(h)
    spin_unlock_irq(hugetlb_lock)
    mutex_unlock(h.resize_lock)
    return 0


@ported("mm/hugetlb.c", "__nr_hugepages_store_common")
def _nr_hugepages_store_common(obey_mempolicy: bool, h: HState, nid: int, count: int) -> int:
    """Set the size of the pool, of one node unless ``nid`` is NUMA_NO_NODE: 0 or -EINVAL."""
    if hstate_is_gigantic_no_runtime(h):
        return -EINVAL
    if nid == NUMA_NO_NODE:
        allowed = init_nodemask_of_mempolicy() if obey_mempolicy else None
        n_mask = node_states[N_MEMORY] if allowed is None else allowed
    else:
        n_mask = 1 << nid
    return set_max_huge_pages(h, count, nid, n_mask)


@ported("lib/kstrtox.c", "kstrtoul")
def kstrtoul(number: int) -> int:
    """0 if an ``unsigned long`` can hold the number, else -EINVAL (a sign) or -ERANGE."""
    if number < 0:
        return -EINVAL
    if number > ULONG_MAX:
        return -ERANGE
    return 0


@ported("mm/hugetlb.c", "nr_hugepages_store_common")
def nr_hugepages_store_common(obey_mempolicy: bool, h: HState, nid: int, count: int) -> int:
    """Write ``count`` to one of the sysfs files: 0 or -errno. A node without memory has no file."""
    if nid != NUMA_NO_NODE and (nid < 0 or not node_isset(nid, node_states[N_MEMORY])):
        return -ENOENT
    err = kstrtoul(count)
    if err:
        return err
    return _nr_hugepages_store_common(obey_mempolicy, h, nid, count)


@ported("mm/hugetlb.c", "nr_hugepages_store")
def nr_hugepages_store(h: HState, count: int, nid: int = NUMA_NO_NODE) -> int:
    """Write to nr_hugepages of the hstate, or of one node: 0 or -errno."""
    return nr_hugepages_store_common(False, h, nid, count)


@ported("mm/hugetlb.c", "nr_hugepages_mempolicy_store")
def nr_hugepages_mempolicy_store(h: HState, count: int) -> int:
    """Write to nr_hugepages_mempolicy: the pool on the nodes of the running task's policy."""
    return nr_hugepages_store_common(True, h, NUMA_NO_NODE, count)


@ported("mm/hugetlb.c", "nr_overcommit_hugepages_store")
def nr_overcommit_hugepages_store(h: HState, count: int) -> int:
    """Write to nr_overcommit_hugepages: 0 or -errno."""
    if hstate_is_gigantic(h):
        return -EINVAL
    err = kstrtoul(count)
    if err:
        return err
    spin_lock_irq(hugetlb_lock)
    h.nr_overcommit_huge_pages = count
    spin_unlock_irq(hugetlb_lock)
    return 0


@ported("mm/hugetlb.c", "hugetlb_sysctl_handler_common")
def hugetlb_sysctl_handler_common(obey_mempolicy: bool, count: int) -> int:
    """Write to the sysctl of the default size: 0 or -errno."""
    h = default_hstate()
    ret = kstrtoul(count)
    if ret:
        return -EINVAL
    return _nr_hugepages_store_common(obey_mempolicy, h, NUMA_NO_NODE, count)


@ported("mm/hugetlb.c", "hugetlb_sysctl_handler")
def hugetlb_sysctl_handler(count: int) -> int:
    """Write to /proc/sys/vm/nr_hugepages: 0 or -errno."""
    return hugetlb_sysctl_handler_common(False, count)


@ported("mm/hugetlb.c", "hugetlb_mempolicy_sysctl_handler")
def hugetlb_mempolicy_sysctl_handler(count: int) -> int:
    """Write to /proc/sys/vm/nr_hugepages_mempolicy: 0 or -errno."""
    return hugetlb_sysctl_handler_common(True, count)


@ported("mm/hugetlb.c", "hugetlb_overcommit_handler")
def hugetlb_overcommit_handler(count: int) -> int:
    """Write to /proc/sys/vm/nr_overcommit_hugepages: 0 or -errno."""
    h = default_hstate()
    if hstate_is_gigantic(h):
        return -EINVAL
    ret = kstrtoul(count)
    if ret:
        return -EINVAL
    spin_lock_irq(hugetlb_lock)
    h.nr_overcommit_huge_pages = count
    spin_unlock_irq(hugetlb_lock)
    return 0
