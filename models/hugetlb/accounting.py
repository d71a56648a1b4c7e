"""The global reservation of an hstate, and the surplus pages that back it. In huge pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import MAX_NUMNODES
from models.kernel.errno import ENOMEM
from models.kernel.lists import ListHead, list_add, list_entries
from models.kernel.locks import lockdep_assert_held, spin_lock_irq, spin_unlock_irq
from models.kernel.machine import LONG_MAX, ULONG_MAX
from models.kernel.mempolicy import MPOL_BIND
from models.kernel.nodes import (
    N_MEMORY,
    cpuset_current_mems_allowed,
    cpuset_nodemask_valid_mems_allowed,
    first_node,
    next_node,
    node_isset,
)
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.folio_list import (
        enqueue_hugetlb_folio,
        free_huge_folio,
        update_and_free_pages_bulk,
    )
    from models.hugetlb.hstate import (
        hstate_is_gigantic_no_runtime,
        htlb_alloc_mask,
        hugetlb_lock,
    )
    from models.hugetlb.pool import remove_pool_hugetlb_folio
    from models.hugetlb.structs import HState
    from models.hugetlb.surplus import alloc_surplus_hugetlb_folio
    from models.kernel.machine import machine
    from models.kernel.mempolicy import apply_policy_zone, get_task_policy
    from models.kernel.nodes import node_states
    from models.kernel.structs import Folio


def as_long(value: int) -> int:
    """An unsigned long as the C reads it when it is assigned to a long."""
    value &= ULONG_MAX
    return value - ULONG_MAX - 1 if value > LONG_MAX else value


@ported("mm/hugetlb.c", "policy_mbind_nodemask")
def policy_mbind_nodemask(gfp: int) -> int | None:
    """The nodes that the running task's policy binds it to, as far as its cpuset has one of them;
    None when it may use any."""
    mpol = get_task_policy(machine.current)

    if (
        mpol.mode == MPOL_BIND
        and apply_policy_zone(mpol)
        and cpuset_nodemask_valid_mems_allowed(mpol.nodes)
    ):
        return mpol.nodes
    return None


@ported("mm/hugetlb.c", "gather_surplus_pages")
def gather_surplus_pages(h: HState, delta: int) -> int:
    """Reserve ``delta`` huge pages, growing the pool by surplus pages if there are too few free.

    Called with hugetlb_lock, which is dropped and retaken. Returns 0, or -ENOMEM with nothing done.
    """
    surplus_list: ListHead[Folio] = ListHead()
    alloc_ok = True
    mbind_nodemask = policy_mbind_nodemask(htlb_alloc_mask(h))

    lockdep_assert_held(hugetlb_lock)
    needed = as_long(h.resv_huge_pages + delta - h.free_huge_pages)
    if needed <= 0:
        h.resv_huge_pages = (h.resv_huge_pages + delta) & ULONG_MAX
        return 0

    allocated = 0

    ret = -ENOMEM
    while True:
        spin_unlock_irq(hugetlb_lock)
        i = 0
        while i < needed:
            folio: Folio | None = None
            mems_allowed = cpuset_current_mems_allowed()
            node = first_node(mems_allowed)
            while node < MAX_NUMNODES:
                if mbind_nodemask is None or node_isset(node, mbind_nodemask):
                    folio = alloc_surplus_hugetlb_folio(h, htlb_alloc_mask(h), node, None)
                    if folio is not None:
                        break
                node = next_node(node, mems_allowed)
            if folio is None:
                alloc_ok = False
                break
            list_add(folio.lru, surplus_list)
            i += 1
        allocated += i

        # Free and reserved pages may have changed without the lock.
        spin_lock_irq(hugetlb_lock)
        needed = as_long(h.resv_huge_pages + delta - (h.free_huge_pages + allocated))
        if needed > 0 and alloc_ok:
            continue
        break

    if needed <= 0:
        # Commit all of it at once, or another would take the pages as they enter the pool.
        needed += allocated
        h.resv_huge_pages = (h.resv_huge_pages + delta) & ULONG_MAX
        ret = 0

        for folio in list_entries(surplus_list):
            needed -= 1
            if needed < 0:
                break
            enqueue_hugetlb_folio(h, folio)

    spin_unlock_irq(hugetlb_lock)

    # What is left was not needed after all, or not enough.
    for folio in list_entries(surplus_list):
        free_huge_folio(folio)
    spin_lock_irq(hugetlb_lock)

    return ret


@ported("mm/hugetlb.c", "return_unused_surplus_pages")
def return_unused_surplus_pages(h: HState, unused_resv_pages: int) -> None:
    """Give up a reservation, and with it up to as many free surplus pages.

    Called with hugetlb_lock, which is dropped and retaken.
    """
    page_list: ListHead[Folio] = ListHead()

    lockdep_assert_held(hugetlb_lock)
    h.resv_huge_pages = (h.resv_huge_pages - unused_resv_pages) & ULONG_MAX

    if not hstate_is_gigantic_no_runtime(h):
        nr_pages = min(unused_resv_pages, h.surplus_huge_pages)

        while nr_pages:
            nr_pages -= 1
            folio = remove_pool_hugetlb_folio(h, node_states[N_MEMORY], True)
            if folio is None:
                break

            list_add(folio.lru, page_list)

    spin_unlock_irq(hugetlb_lock)
    update_and_free_pages_bulk(h, page_list)
    spin_lock_irq(hugetlb_lock)


@ported("mm/hugetlb.c", "allowed_mems_nr")
def allowed_mems_nr(h: HState) -> int:
    """Free huge pages on the nodes that the running task's cpuset and policy allow."""
    nr = 0
    array = h.free_huge_pages_node
    gfp_mask = htlb_alloc_mask(h)

    mbind_nodemask = policy_mbind_nodemask(gfp_mask)
    mems_allowed = cpuset_current_mems_allowed()
    node = first_node(mems_allowed)
    while node < MAX_NUMNODES:
        if mbind_nodemask is None or node_isset(node, mbind_nodemask):
            nr += array[node]
        node = next_node(node, mems_allowed)

    return nr & 0xFFFFFFFF


@ported("mm/hugetlb.c", "hugetlb_acct_memory")
def hugetlb_acct_memory(h: HState, delta: int) -> int:
    """Raise or lower the global reservation by ``delta`` huge pages: 0 or -ENOMEM."""
    ret = -ENOMEM

    if not delta:
        return 0

    spin_lock_irq(hugetlb_lock)
    if delta > 0:
        # Not strict: reservations count globally, cpusets and policies do not.
        if gather_surplus_pages(h, delta) < 0:
            spin_unlock_irq(hugetlb_lock)
            return ret

        if delta > allowed_mems_nr(h):
            return_unused_surplus_pages(h, delta)
            spin_unlock_irq(hugetlb_lock)
            return ret

    ret = 0
    if delta < 0:
        return_unused_surplus_pages(h, -delta)

    spin_unlock_irq(hugetlb_lock)
    return ret
