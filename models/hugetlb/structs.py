"""Structures of include/linux/hugetlb.h and include/linux/hugetlb_cgroup.h.

Counters of an hstate are ``unsigned long``: they are kept modulo 2**64 by whoever changes them, so
that underflow shows as in the kernel. All counts are in huge pages of the hstate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.lists import ListHead
from models.kernel.locks import Lock, RWSem
from models.kernel.structs import PAGE_SHIFT

if TYPE_CHECKING:
    from models.kernel.page_counter import CgroupSubsysState, PageCounter
    from models.kernel.structs import Folio, VmArea

HUGE_MAX_HSTATE: Final = 2
MAX_NUMNODES: Final = 4

#: Bits of ``Folio.hpg`` (enum hugetlb_page_flags).
HPG_RESTORE_RESERVE: Final = 1 << 0
HPG_MIGRATABLE: Final = 1 << 1
HPG_TEMPORARY: Final = 1 << 2
HPG_FREED: Final = 1 << 3
HPG_VMEMMAP_OPTIMIZED: Final = 1 << 4
HPG_RAW_HWP_UNRELIABLE: Final = 1 << 5

#: Bits of ``VmArea.vm_private_flags``.
HPAGE_RESV_OWNER: Final = 1 << 0
HPAGE_RESV_UNMAPPED: Final = 1 << 1


class HState:
    """struct hstate. ``order`` and ``demote_order`` are log2 of base pages; ``mask`` masks an
    address down to the huge page."""

    __slots__ = (
        "demote_order",
        "free_huge_pages",
        "free_huge_pages_node",
        "hugepage_activelist",
        "hugepage_freelists",
        "index",
        "mask",
        "max_huge_pages",
        "max_huge_pages_node",
        "name",
        "next_nid_to_alloc",
        "next_nid_to_free",
        "nr_huge_pages",
        "nr_huge_pages_node",
        "nr_overcommit_huge_pages",
        "order",
        "resize_lock",
        "resv_huge_pages",
        "surplus_huge_pages",
        "surplus_huge_pages_node",
    )

    def __init__(self, index: int, order: int, nodes: int) -> None:
        size = 1 << (order + PAGE_SHIFT)
        self.index = index
        self.order = order
        self.demote_order = 0
        self.mask = ~(size - 1) & ((1 << 64) - 1)
        self.name = f"hugepages-{size >> 10}kB"
        self.resize_lock = Lock(f"resize_lock.{index}")
        self.next_nid_to_alloc = 0
        self.next_nid_to_free = 0
        self.max_huge_pages = 0
        self.nr_huge_pages = 0
        self.free_huge_pages = 0
        self.resv_huge_pages = 0
        self.surplus_huge_pages = 0
        self.nr_overcommit_huge_pages = 0
        self.hugepage_activelist: ListHead[Folio] = ListHead()
        self.hugepage_freelists: list[ListHead[Folio]] = [ListHead() for _ in range(nodes)]
        self.max_huge_pages_node = [0] * nodes
        self.nr_huge_pages_node = [0] * nodes
        self.free_huge_pages_node = [0] * nodes
        self.surplus_huge_pages_node = [0] * nodes


class Subpool:
    """struct hugepage_subpool: -1 in ``max_hpages`` or ``min_hpages`` means no limit."""

    __slots__ = (
        "canon",
        "count",
        "hstate",
        "lock",
        "max_hpages",
        "min_hpages",
        "rsv_hpages",
        "used_hpages",
    )

    def __init__(self, hstate: HState, max_hpages: int, min_hpages: int) -> None:
        self.lock = Lock("spool.lock")
        #: The observation's number for it; the models never read it.
        self.canon = -1
        self.count = 1
        self.max_hpages = max_hpages
        self.used_hpages = 0
        self.hstate = hstate
        self.min_hpages = min_hpages
        self.rsv_hpages = 0


class FileRegion:
    """struct file_region: huge pages ``from_`` (included) to ``to`` (excluded)."""

    __slots__ = ("css", "from_", "link", "reservation_counter", "to")

    def __init__(self, from_: int = 0, to: int = 0) -> None:
        self.link: ListHead[FileRegion] = ListHead(self)
        self.from_ = from_
        self.to = to
        self.reservation_counter: PageCounter | None = None
        self.css: CgroupSubsysState | None = None


class ResvMap:
    """struct resv_map; ``refs`` is its kref."""

    __slots__ = (
        "adds_in_progress",
        "css",
        "lock",
        "pages_per_hpage",
        "refs",
        "region_cache",
        "region_cache_count",
        "regions",
        "reservation_counter",
        "rw_sema",
    )

    def __init__(self) -> None:
        self.refs = 1
        self.lock = Lock("resv.lock")
        self.regions: ListHead[FileRegion] = ListHead()
        self.adds_in_progress = 0
        self.region_cache: ListHead[FileRegion] = ListHead()
        self.region_cache_count = 0
        self.rw_sema = RWSem("resv.rw_sema")
        self.reservation_counter: PageCounter | None = None
        self.pages_per_hpage = 0
        self.css: CgroupSubsysState | None = None


class VmaLock:
    """struct hugetlb_vma_lock of a shared mapping."""

    __slots__ = ("refs", "rw_sema", "vma")

    def __init__(self, vma: VmArea) -> None:
        self.refs = 1
        self.rw_sema = RWSem("vma_lock")
        self.vma: VmArea | None = vma


class HugetlbCgroup:
    """struct hugetlb_cgroup: a usage and a reservation counter for each hstate (in base pages, as
    page counters count), the ``max`` events of each hstate, and the use by node and hstate."""

    __slots__ = (
        "canon",
        "css",
        "events",
        "events_local",
        "hugepage",
        "nodeinfo",
        "parent",
        "rsvd_hugepage",
    )

    def __init__(self, css: CgroupSubsysState, parent: HugetlbCgroup | None) -> None:
        self.css = css
        #: The observation's number for it; the models never read it.
        self.canon = -1
        self.parent = parent
        self.hugepage: list[PageCounter] = []
        self.rsvd_hugepage: list[PageCounter] = []
        self.events = [0] * HUGE_MAX_HSTATE
        self.events_local = [0] * HUGE_MAX_HSTATE
        self.nodeinfo = [[0] * HUGE_MAX_HSTATE for _ in range(MAX_NUMNODES)]


def huge_page_order(h: HState) -> int:
    """Order of the hstate: log2 of base pages (include/linux/hugetlb.h, huge_page_order)."""
    return h.order


def huge_page_shift(h: HState) -> int:
    """log2 of bytes (include/linux/hugetlb.h, huge_page_shift)."""
    return h.order + PAGE_SHIFT


def huge_page_size(h: HState) -> int:
    """Bytes (include/linux/hugetlb.h, huge_page_size)."""
    return 1 << (h.order + PAGE_SHIFT)


def huge_page_mask(h: HState) -> int:
    """Mask of an address down to its huge page (include/linux/hugetlb.h, huge_page_mask)."""
    return h.mask


def pages_per_huge_page(h: HState) -> int:
    """Base pages of one huge page (include/linux/hugetlb.h, pages_per_huge_page)."""
    return 1 << h.order


def blocks_per_huge_page(h: HState) -> int:
    """Blocks of 512 bytes of one huge page (include/linux/hugetlb.h, blocks_per_huge_page)."""
    return huge_page_size(h) // 512


def hstate_is_gigantic(h: HState) -> bool:
    """Larger than the buddy allocator's largest block (include/linux/hugetlb.h)."""
    return h.order > 10
