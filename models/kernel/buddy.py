# Fidelity: CUSTOM
"""The page allocator, seen by HugeTLB: nodes of fixed size, taken in blocks of 2 MiB and 1 GiB.

A node is a range of frames of 2 MiB; all of it can become huge pages, so reclaim and compaction are
taken to succeed whenever there is room. Where in a node a page comes from makes no difference to
HugeTLB; it is the lowest free frame, so that equal requests get equal frames.

Failures to inject: ``buddy`` fails a request whole, ``buddy.N`` makes node N look full to one
request; requests for gigantic pages, which go another way, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.gfp import _GFP_COMP
from models.kernel.machine import bug_on, effect, inject, warn_on
from models.kernel.nodes import (
    cpuset_current_mems_allowed,
    cpuset_zone_allowed,
    node_zonelist,
    numa_init,
)
from models.kernel.port import ported, static_data
from models.kernel.structs import Folio

if TYPE_CHECKING:
    from models.kernel.machine import machine

#: log2 of base pages of a frame, the unit in which nodes are kept.
FRAME_ORDER: Final = 9
MAX_PAGE_ORDER: Final = 10
FRAME_MB: Final = 2
#: What a node has if the world does not say: as the recorded kernel.
DEFAULT_NODE_MB: Final = 512


class Zone:
    """One node's memory: frames ``start`` (included) to ``end`` (excluded) of 2 MiB.

    Bit k of ``free`` is set while frame ``start + k`` is free. ``lost`` are the base pages that a
    memory error took; the frames that they lie in are never free.
    """

    __slots__ = ("end", "free", "lost", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.free = (1 << (end - start)) - 1
        self.lost: frozenset[int] = frozenset()


#: Of each node, its memory.
zones: list[Zone]


@static_data
def buddy_static() -> None:
    """One node, until boot_memory() says otherwise."""
    global zones
    zones = [Zone(0, DEFAULT_NODE_MB // FRAME_MB)]


def boot_memory(node_mb: list[int]) -> None:
    """Bring up nodes of the given sizes (MiB), one after the other in physical memory."""
    global zones
    zones = []
    start = 0
    for mb in node_mb:
        zones.append(Zone(start, start + mb // FRAME_MB))
        start += mb // FRAME_MB
    numa_init([mb >= FRAME_MB for mb in node_mb])


def rmqueue(zone: Zone, order: int) -> int | None:
    """Take the lowest free block of ``2**order`` base pages; its first frame, or None."""
    free = zone.free
    if order == FRAME_ORDER:
        if not free:
            return None
        low = free & -free
        zone.free = free ^ low
        return zone.start + low.bit_length() - 1
    count = 1 << (order - FRAME_ORDER)
    block = (1 << count) - 1
    # Blocks are aligned in physical memory, not in the node.
    frame = -(-zone.start // count) * count
    while frame + count <= zone.end:
        bits = block << (frame - zone.start)
        if free & bits == bits:
            zone.free = free ^ bits
            return frame
        frame += count
    return None


def new_folio(frame: int, nid: int, order: int) -> Folio:
    """A compound page that nobody else has, with one reference."""
    return Folio(frame << FRAME_ORDER, nid, order)


@ported("mm/page_alloc.c", "__folio_alloc")
def _folio_alloc(gfp: int, order: int, preferred_nid: int, nodemask: int | None) -> Folio | None:
    """A folio of ``2**order`` base pages with one reference, or None.

    Nodes are tried in the order of the zonelist of ``preferred_nid``, as far as ``nodemask`` and
    the cpuset allow them.
    """
    if machine.effects is not None:
        effect(f"alloc_pages order={order} nid={preferred_nid} mask={nodemask} gfp={gfp:#x}")
    if machine.fail and inject("buddy"):
        return None
    # Without a mask of its own an allocation is confined to the cpuset the same way.
    mask = cpuset_current_mems_allowed() if nodemask is None else nodemask
    for nid in node_zonelist(preferred_nid, gfp):
        if not mask >> nid & 1 or not cpuset_zone_allowed(nid, gfp):
            continue
        if machine.fail and inject(f"buddy.{nid}"):
            continue
        frame = rmqueue(zones[nid], order)
        if frame is not None:
            return new_folio(frame, nid, order)
    return None


@ported("include/linux/gfp.h", "folio_alloc_gigantic")
def folio_alloc_gigantic(order: int, gfp: int, nid: int, node: int | None) -> Folio | None:
    """A folio larger than the buddy allocator's blocks, with one reference, or None."""
    if warn_on(not order or not gfp & _GFP_COMP, "!order || !(gfp & __GFP_COMP)"):
        return None
    return alloc_contig_pages(1 << order, gfp, nid, node)


@ported("mm/page_alloc.c", "alloc_contig_pages")
def alloc_contig_pages(
    nr_pages: int, gfp_mask: int, nid: int, nodemask: int | None
) -> Folio | None:
    """``nr_pages`` (base pages, a power of two), one aligned range without any huge page; or None.

    Cpusets do not count here, as in the C.
    """
    if machine.effects is not None:
        effect(f"alloc_contig_pages nr={nr_pages} nid={nid} mask={nodemask} gfp={gfp_mask:#x}")
    if machine.fail and inject("buddy"):
        return None
    order = nr_pages.bit_length() - 1
    for n in node_zonelist(nid, gfp_mask):
        if nodemask is not None and not nodemask >> n & 1:
            continue
        if machine.fail and inject(f"buddy.{n}"):
            continue
        frame = rmqueue(zones[n], order)
        if frame is not None:
            return new_folio(frame, n, order)
    return None


@ported("mm/page_alloc.c", "free_unref_page")
def free_unref_page(page: Folio, order: int) -> None:
    """Give ``2**order`` base pages back to their node, but for those with a memory error.

    The kernel gives the smaller blocks around a bad page back; here their whole frame is lost.
    """
    zone = zones[page.nid]
    frame = (page.pfn >> FRAME_ORDER) - zone.start
    bits = ((1 << (1 << (order - FRAME_ORDER))) - 1) << frame
    bug_on(zone.free & bits, "free_unref_page: page is free already")
    if machine.effects is not None:
        effect(f"free_pages order={order} nid={page.nid}")
    for offset in page.raw_hwp:
        zone.lost |= {page.pfn + offset}
        bits &= ~(1 << (frame + (offset >> FRAME_ORDER)))
    zone.free |= bits


# ---- base pages with a memory error ----


def pfn_zone(pfn: int) -> Zone | None:
    """The node's memory that a base page lies in, or None."""
    for zone in zones:
        if zone.start <= pfn >> FRAME_ORDER < zone.end:
            return zone
    return None


@ported("include/linux/mmzone.h", "pfn_valid")
def pfn_valid(pfn: int) -> bool:
    """Whether there is such a base page."""
    return pfn_zone(pfn) is not None


@ported("mm/page_alloc.c", "is_free_buddy_page")
def is_free_buddy_page(pfn: int) -> bool:
    """Whether the page allocator has the base page."""
    zone = pfn_zone(pfn)
    return zone is not None and zone.free >> ((pfn >> FRAME_ORDER) - zone.start) & 1 != 0


@ported("include/linux/page-flags.h", "PageHWPoisonTakenOff")
def PageHWPoisonTakenOff(pfn: int) -> bool:
    """Whether the base page was lost."""
    zone = pfn_zone(pfn)
    return zone is not None and pfn in zone.lost


@ported("mm/page_alloc.c", "take_page_off_buddy")
def take_page_off_buddy(pfn: int) -> bool:
    """Withhold a base page that nobody uses; whether that could be done."""
    zone = pfn_zone(pfn)
    if zone is None:
        return False
    frame = pfn >> FRAME_ORDER
    bit = 1 << (frame - zone.start)
    if not zone.free & bit and not any(lost >> FRAME_ORDER == frame for lost in zone.lost):
        return False
    zone.free &= ~bit
    zone.lost |= {pfn}
    return True


@ported("mm/page_alloc.c", "put_page_back_buddy")
def put_page_back_buddy(pfn: int) -> bool:
    """Give a withheld base page back; whether it was one."""
    zone = pfn_zone(pfn)
    if zone is None or pfn not in zone.lost:
        return False
    zone.lost -= {pfn}
    frame = pfn >> FRAME_ORDER
    if not any(lost >> FRAME_ORDER == frame for lost in zone.lost):
        zone.free |= 1 << (frame - zone.start)
    return True
