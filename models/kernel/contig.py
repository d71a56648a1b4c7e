# Fidelity: CUSTOM
"""Clearing a range of memory for an allocation of contiguous pages (mm/page_alloc.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.hstate import MR_CONTIG_RANGE
from models.kernel.errno import EBUSY, ENOMEM
from models.kernel.gfp import _GFP_MOVABLE, _GFP_RETRY_MAYFAIL, GFP_KERNEL
from models.kernel.lists import ListHead, list_empty
from models.kernel.migrate import MigrationTarget
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.dissolve import isolate_or_dissolve_huge_page, pfn_folio
    from models.kernel.migrate import migrate_pages, putback_movable_pages
    from models.kernel.structs import Folio

#: Times that a page is tried before the range counts as busy.
MAX_TRIES: Final = 5


@ported("mm/page_alloc.c", "__alloc_contig_migrate_range")
def _alloc_contig_migrate_range(pfn: int) -> int:
    """Dissolve or move away what huge page there is at base page ``pfn``, the whole range here: 0,
    -EBUSY or -ENOMEM."""
    folio = pfn_folio(pfn)
    if folio is None:
        return 0
    migratepages: ListHead[Folio] = ListHead()
    ret = isolate_or_dissolve_huge_page(folio, migratepages)
    if ret < 0:
        return ret
    gfp_mask = GFP_KERNEL | _GFP_MOVABLE | _GFP_RETRY_MAYFAIL
    mtc = MigrationTarget(folio.nid, gfp_mask, MR_CONTIG_RANGE)
    tries = 0
    while not list_empty(migratepages):
        if tries == MAX_TRIES:
            ret = -EBUSY
            break
        tries += 1
        ret = migrate_pages(migratepages, mtc)
        if ret == -ENOMEM:
            break
    if ret < 0:
        putback_movable_pages(migratepages)
    return min(ret, 0)
