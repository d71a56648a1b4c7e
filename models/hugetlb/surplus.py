"""Fresh folios from the page allocator, for faults, reservations and migration (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.folio_list import UINT_MAX
from models.hugetlb.structs import HPG_TEMPORARY, HState, hstate_is_gigantic, huge_page_order
from models.kernel.gfp import (
    _GFP_DIRECT_RECLAIM,
    _GFP_NOFAIL,
    _GFP_RETRY_MAYFAIL,
    _GFP_THISNODE,
)
from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.machine import ULONG_MAX, bug_on
from models.kernel.port import ported
from models.kernel.structs import NUMA_NO_NODE, Folio, VmArea

if TYPE_CHECKING:
    from models.hugetlb.folio_list import (
        available_huge_pages,
        dequeue_hugetlb_folio_nodemask,
        free_huge_folio,
        hugetlb_free_folio,
        init_new_hugetlb_folio,
        prep_new_hugetlb_folio,
    )
    from models.hugetlb.hstate import htlb_alloc_mask, hugetlb_lock
    from models.kernel.buddy import _folio_alloc, folio_alloc_gigantic
    from models.kernel.mempolicy import huge_node, mpol_cond_put, mpol_is_preferred_many
    from models.kernel.nodes import numa_mem_id
    from models.kernel.page import folio_put, folio_ref_freeze, folio_ref_unfreeze


@ported("mm/hugetlb.c", "alloc_gigantic_folio")
def alloc_gigantic_folio(h: HState, gfp_mask: int, nid: int, nodemask: int | None) -> Folio | None:
    """A frozen folio of a gigantic hstate, or None."""
    order = huge_page_order(h)
    retried = False
    if nid == NUMA_NO_NODE:
        nid = numa_mem_id()
    while True:
        folio = folio_alloc_gigantic(order, gfp_mask, nid, nodemask)
        if folio is None:
            return None
        if folio_ref_freeze(folio, 1):
            return folio
        hugetlb_free_folio(folio)
        if retried:
            return None
        retried = True


@ported("mm/hugetlb.c", "alloc_buddy_hugetlb_folio")
def alloc_buddy_hugetlb_folio(
    h: HState,
    gfp_mask: int,
    nid: int,
    nmask: int | None,
    node_alloc_noretry: set[int] | None,
) -> Folio | None:
    """A frozen folio from the buddy allocator, or None.

    ``node_alloc_noretry`` collects the nodes on which trying hard was in vain.
    """
    order = huge_page_order(h)
    alloc_try_hard = True
    retry = True
    if node_alloc_noretry is not None and nid in node_alloc_noretry:
        alloc_try_hard = False
    if alloc_try_hard:
        gfp_mask |= _GFP_RETRY_MAYFAIL
    if nid == NUMA_NO_NODE:
        nid = numa_mem_id()
    while True:
        folio = _folio_alloc(gfp_mask, order, nid, nmask)
        if folio is not None and not folio_ref_freeze(folio, 1):
            folio_put(folio)
            if retry:
                retry = False
                continue
            folio = None
        break
    if node_alloc_noretry is not None and folio is not None and not alloc_try_hard:
        node_alloc_noretry.discard(nid)
    if node_alloc_noretry is not None and folio is None and alloc_try_hard:
        node_alloc_noretry.add(nid)
    return folio


@ported("mm/hugetlb.c", "only_alloc_fresh_hugetlb_folio")
def only_alloc_fresh_hugetlb_folio(
    h: HState,
    gfp_mask: int,
    nid: int,
    nmask: int | None,
    node_alloc_noretry: set[int] | None,
) -> Folio | None:
    """A fresh folio, frozen and not counted yet, or None."""
    if hstate_is_gigantic(h):
        folio = alloc_gigantic_folio(h, gfp_mask, nid, nmask)
    else:
        folio = alloc_buddy_hugetlb_folio(h, gfp_mask, nid, nmask, node_alloc_noretry)
    if folio is not None:
        init_new_hugetlb_folio(h, folio)
    return folio


@ported("mm/hugetlb.c", "alloc_fresh_hugetlb_folio")
def alloc_fresh_hugetlb_folio(
    h: HState, gfp_mask: int, nid: int, nmask: int | None
) -> Folio | None:
    """A fresh folio, frozen and counted in nr_huge_pages, or None."""
    if hstate_is_gigantic(h):
        folio = alloc_gigantic_folio(h, gfp_mask, nid, nmask)
    else:
        folio = alloc_buddy_hugetlb_folio(h, gfp_mask, nid, nmask, None)
    if folio is None:
        return None
    prep_new_hugetlb_folio(h, folio, folio.nid)
    return folio


@ported("mm/hugetlb.c", "alloc_surplus_hugetlb_folio")
def alloc_surplus_hugetlb_folio(
    h: HState, gfp_mask: int, nid: int, nmask: int | None
) -> Folio | None:
    """A fresh surplus folio, frozen, or None: none to be had, or overcommit used up."""
    if hstate_is_gigantic(h):
        return None
    spin_lock_irq(hugetlb_lock)
    if h.surplus_huge_pages >= h.nr_overcommit_huge_pages:
        spin_unlock_irq(hugetlb_lock)
        return None
    spin_unlock_irq(hugetlb_lock)
    folio = alloc_fresh_hugetlb_folio(h, gfp_mask, nid, nmask)
    if folio is None:
        return None
    spin_lock_irq(hugetlb_lock)
    # The pool may have changed while the lock was not held.
    if h.surplus_huge_pages >= h.nr_overcommit_huge_pages:
        folio.hpg |= HPG_TEMPORARY
        spin_unlock_irq(hugetlb_lock)
        free_huge_folio(folio)
        return None
    h.surplus_huge_pages = (h.surplus_huge_pages + 1) & ULONG_MAX
    h.surplus_huge_pages_node[folio.nid] = (h.surplus_huge_pages_node[folio.nid] + 1) & UINT_MAX
    spin_unlock_irq(hugetlb_lock)
    return folio


@ported("mm/hugetlb.c", "alloc_migrate_hugetlb_folio")
def alloc_migrate_hugetlb_folio(
    h: HState, gfp_mask: int, nid: int, nmask: int | None
) -> Folio | None:
    """A fresh temporary folio with one reference to migrate to, or None."""
    if hstate_is_gigantic(h):
        return None
    folio = alloc_fresh_hugetlb_folio(h, gfp_mask, nid, nmask)
    if folio is None:
        return None
    folio_ref_unfreeze(folio, 1)
    folio.hpg |= HPG_TEMPORARY
    return folio


@ported("mm/hugetlb.c", "alloc_buddy_hugetlb_folio_with_mpol")
def alloc_buddy_hugetlb_folio_with_mpol(h: HState, vma: VmArea, addr: int) -> Folio | None:
    """A fresh surplus folio, frozen, from where the policy of the address (bytes) says, or None."""
    folio: Folio | None = None
    gfp_mask = htlb_alloc_mask(h)
    nid, mpol, nodemask = huge_node(vma, addr, gfp_mask)
    if mpol_is_preferred_many(mpol):
        gfp = gfp_mask & ~(_GFP_DIRECT_RECLAIM | _GFP_NOFAIL)
        folio = alloc_surplus_hugetlb_folio(h, gfp, nid, nodemask)
        nodemask = None
    if folio is None:
        folio = alloc_surplus_hugetlb_folio(h, gfp_mask, nid, nodemask)
    mpol_cond_put(mpol)
    return folio


@ported("mm/hugetlb.c", "alloc_hugetlb_folio_reserve")
def alloc_hugetlb_folio_reserve(
    h: HState, preferred_nid: int, nmask: int | None, gfp_mask: int
) -> Folio | None:
    """A folio from the pool for which the caller has made a reservation, or None."""
    spin_lock_irq(hugetlb_lock)
    folio = dequeue_hugetlb_folio_nodemask(h, gfp_mask, preferred_nid, nmask)
    if folio is not None:
        bug_on(not h.resv_huge_pages, "alloc_hugetlb_folio_reserve: !h->resv_huge_pages")
        h.resv_huge_pages = (h.resv_huge_pages - 1) & ULONG_MAX
    spin_unlock_irq(hugetlb_lock)
    return folio


@ported("mm/hugetlb.c", "alloc_hugetlb_folio_nodemask")
def alloc_hugetlb_folio_nodemask(
    h: HState,
    preferred_nid: int,
    nmask: int | None,
    gfp_mask: int,
    allow_alloc_fallback: bool,
) -> Folio | None:
    """A folio to migrate to, with one reference: from the pool if a page is available, else fresh
    and temporary; or None."""
    spin_lock_irq(hugetlb_lock)
    if available_huge_pages(h):
        folio = dequeue_hugetlb_folio_nodemask(h, gfp_mask, preferred_nid, nmask)
        if folio is not None:
            spin_unlock_irq(hugetlb_lock)
            return folio
    spin_unlock_irq(hugetlb_lock)
    if not allow_alloc_fallback:
        gfp_mask |= _GFP_THISNODE
    return alloc_migrate_hugetlb_folio(h, gfp_mask, preferred_nid, nmask)
