"""Removal of a page in 6.12.117: locked before it is unmapped again (fs/hugetlbfs/inode.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.machine import bug_on
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.reserve import hugetlb_fix_reserve_counts, hugetlb_unreserve_pages
    from models.hugetlb.structs import HState
    from models.hugetlb.truncate import hugetlb_delete_from_page_cache, hugetlb_unmap_file_folio
    from models.kernel.page import (
        folio_lock,
        folio_mapped,
        folio_test_hugetlb_restore_reserve,
        folio_unlock,
    )
    from models.kernel.structs import AddressSpace, Folio, Inode


@ported("fs/hugetlbfs/inode.c", "remove_inode_single_folio")
def remove_inode_single_folio(
    h: HState,
    inode: Inode,
    mapping: AddressSpace,
    folio: Folio,
    index: int,
    truncate_op: bool,
) -> bool:
    """Take one folio out of the file, with the fault mutex held; ``index`` in huge pages.

    A hole punched gives up the page's reservation here; a truncation does so later for all.
    """
    ret = False
    folio_lock(folio)
    if folio_mapped(folio):
        hugetlb_unmap_file_folio(h, mapping, folio, index)
    bug_on(folio_test_hugetlb_restore_reserve(folio), "folio_test_hugetlb_restore_reserve(folio)")
    hugetlb_delete_from_page_cache(folio)
    ret = True
    if not truncate_op:
        if hugetlb_unreserve_pages(inode, index, index + 1, 1):
            hugetlb_fix_reserve_counts(inode)
    folio_unlock(folio)
    return ret
