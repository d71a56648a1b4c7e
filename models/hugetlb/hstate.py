"""The hstates, and how their per-node work goes round (mm/hugetlb.c).

A node mask is an integer. ``for_each_node_mask_to_alloc`` and ``_to_free`` are generators: as the
C's macros they move the hstate's cursor on just before each turn, and never behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import (
    HUGE_MAX_HSTATE,
    MAX_NUMNODES,
    HState,
    hstate_is_gigantic,
    huge_page_size,
)
from models.kernel.gfp import (
    _GFP_COMP,
    _GFP_NOWARN,
    _GFP_THISNODE,
    GFP_HIGHUSER,
    GFP_HIGHUSER_MOVABLE,
)
from models.kernel.locks import Lock
from models.kernel.machine import bug_on
from models.kernel.nodes import N_MEMORY, first_node, next_node_in, node_isset, nodes_weight
from models.kernel.port import ported, static_data
from models.kernel.structs import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from models.kernel.nodes import node_states

#: Orders (log2 of base pages) of PMD- and PUD-sized huge pages.
HUGETLB_PAGE_ORDER: Final = 9
PUD_ORDER: Final = 18
HPAGE_SIZE: Final = PAGE_SIZE << HUGETLB_PAGE_ORDER

#: Reasons of a migration that htlb_allow_alloc_fallback() tells apart (enum migrate_reason).
MR_COMPACTION: Final = 0
MR_MEMORY_FAILURE: Final = 1
MR_MEMORY_HOTPLUG: Final = 2
MR_SYSCALL: Final = 3
MR_MEMPOLICY_MBIND: Final = 4
MR_NUMA_MISPLACED: Final = 5
MR_CONTIG_RANGE: Final = 6
MR_LONGTERM_PIN: Final = 7

hstates: list[HState]
default_hstate_idx: int
hugetlb_max_hstate: int
hugetlb_lock: Lock


@static_data
def hstate_static() -> None:
    """No hstate yet; the first that is added is the default one."""
    global hstates, default_hstate_idx, hugetlb_max_hstate, hugetlb_lock
    hstates = []
    default_hstate_idx = 0
    hugetlb_max_hstate = 0
    hugetlb_lock = Lock("hugetlb_lock")


# ---- include/linux/hugetlb.h ----


@ported("include/linux/hugetlb.h", "default_hstate")
def default_hstate() -> HState:
    """The hstate of pages whose size nobody named."""
    return hstates[default_hstate_idx]


@ported("include/linux/hugetlb.h", "gigantic_page_runtime_supported")
def gigantic_page_runtime_supported() -> bool:
    """Whether gigantic pages can be allocated while the system runs (x86: always)."""
    return True


@ported("include/linux/hugetlb.h", "hugepage_migration_supported")
def hugepage_migration_supported(h: HState) -> bool:
    """Whether pages of the hstate can migrate (x86: PMD and PUD sizes can)."""
    return h.order in (HUGETLB_PAGE_ORDER, PUD_ORDER)


@ported("include/linux/hugetlb.h", "hugepage_movable_supported")
def hugepage_movable_supported(h: HState) -> bool:
    """Whether pages of the hstate may be taken from movable memory: not if they are too large to
    be moved away with a chance of success."""
    if not hugepage_migration_supported(h):
        return False
    return not hstate_is_gigantic(h)


@ported("include/linux/hugetlb.h", "htlb_alloc_mask")
def htlb_alloc_mask(h: HState) -> int:
    """Flags with which pages of the hstate are allocated."""
    gfp = _GFP_COMP | _GFP_NOWARN
    gfp |= GFP_HIGHUSER_MOVABLE if hugepage_movable_supported(h) else GFP_HIGHUSER
    return gfp


@ported("include/linux/hugetlb.h", "htlb_modify_alloc_mask")
def htlb_modify_alloc_mask(h: HState, gfp_mask: int) -> int:
    """The hstate's flags, with the caller's wish for one node."""
    modified_mask = htlb_alloc_mask(h)
    modified_mask |= gfp_mask & _GFP_THISNODE
    modified_mask |= gfp_mask & _GFP_NOWARN
    return modified_mask


@ported("include/linux/hugetlb.h", "htlb_allow_alloc_fallback")
def htlb_allow_alloc_fallback(reason: int) -> bool:
    """Whether a migration for this reason may leave the node, at the cost of the node's pool."""
    return reason in (MR_MEMORY_HOTPLUG, MR_MEMORY_FAILURE, MR_SYSCALL, MR_MEMPOLICY_MBIND)


# ---- mm/hugetlb.c ----


@ported("mm/hugetlb.c", "hstate_is_gigantic_no_runtime")
def hstate_is_gigantic_no_runtime(h: HState) -> bool:
    """Whether the pages are gigantic and can come and go at boot only."""
    return hstate_is_gigantic(h) and not gigantic_page_runtime_supported()


@ported("mm/hugetlb.c", "size_to_hstate")
def size_to_hstate(size: int) -> HState | None:
    """The hstate of pages of ``size`` bytes, or None."""
    for h in hstates:
        if huge_page_size(h) == size:
            return h
    return None


@ported("mm/hugetlb.c", "next_node_allowed")
def next_node_allowed(nid: int, nodes_allowed: int) -> int:
    """The next node of the mask after ``nid``, wrapping round."""
    nid = next_node_in(nid, nodes_allowed)
    bug_on(nid >= MAX_NUMNODES, "nid >= MAX_NUMNODES")
    return nid


@ported("mm/hugetlb.c", "get_valid_node_allowed")
def get_valid_node_allowed(nid: int, nodes_allowed: int) -> int:
    """``nid`` if the mask has it, else the next node that it has."""
    if not node_isset(nid, nodes_allowed):
        nid = next_node_allowed(nid, nodes_allowed)
    return nid


@ported("mm/hugetlb.c", "hstate_next_node_to_alloc")
def hstate_next_node_to_alloc(h: HState, nodes_allowed: int) -> int:
    """The node to allocate on, and move the cursor on.

    The C takes a pointer to the cursor; outside of boot that is always the hstate's own.
    """
    nid = get_valid_node_allowed(h.next_nid_to_alloc, nodes_allowed)
    h.next_nid_to_alloc = next_node_allowed(nid, nodes_allowed)
    return nid


@ported("mm/hugetlb.c", "hstate_next_node_to_free")
def hstate_next_node_to_free(h: HState, nodes_allowed: int) -> int:
    """The node to free from, and move the cursor on."""
    nid = get_valid_node_allowed(h.next_nid_to_free, nodes_allowed)
    h.next_nid_to_free = next_node_allowed(nid, nodes_allowed)
    return nid


@ported("mm/hugetlb.c", "for_each_node_mask_to_alloc")
def for_each_node_mask_to_alloc(h: HState, mask: int) -> Iterator[int]:
    """The nodes of the mask, once each, from the hstate's cursor on."""
    nr_nodes = nodes_weight(mask)
    while nr_nodes > 0:
        yield hstate_next_node_to_alloc(h, mask)
        nr_nodes -= 1


@ported("mm/hugetlb.c", "for_each_node_mask_to_free")
def for_each_node_mask_to_free(hs: HState, mask: int) -> Iterator[int]:
    """The nodes of the mask, once each, from the hstate's cursor on."""
    nr_nodes = nodes_weight(mask)
    while nr_nodes > 0:
        yield hstate_next_node_to_free(hs, mask)
        nr_nodes -= 1


@ported("mm/hugetlb.c", "hugetlb_add_hstate")
def hugetlb_add_hstate(order: int) -> None:
    """Add an hstate of pages of ``2**order`` base pages."""
    global hugetlb_max_hstate
    if size_to_hstate(PAGE_SIZE << order) is not None:
        return
    bug_on(hugetlb_max_hstate >= HUGE_MAX_HSTATE, "hugetlb_max_hstate >= HUGE_MAX_HSTATE")
    h = HState(hugetlb_max_hstate, order, MAX_NUMNODES)
    hugetlb_max_hstate += 1
    h.next_nid_to_alloc = first_node(node_states[N_MEMORY])
    h.next_nid_to_free = first_node(node_states[N_MEMORY])
    hstates.append(h)


@ported("mm/hugetlb.c", "hugetlb_init_hstates")
def hugetlb_init_hstates() -> None:
    """Set what each hstate's pages are demoted to: the next smaller size."""
    for h in hstates:
        if hstate_is_gigantic_no_runtime(h):
            continue
        for h2 in hstates:
            if h2 is h:
                continue
            if h2.order < h.order and h2.order > h.demote_order:
                h.demote_order = h2.order


assert HPAGE_SIZE >> PAGE_SHIFT == 1 << HUGETLB_PAGE_ORDER
