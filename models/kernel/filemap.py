# Fidelity: DUP
"""The page cache of huge folios (mm/filemap.c).

Page-cache indices of the C's arguments are in base pages of 4096 bytes, as since 6.7 HugeTLB counts
them like every file; ``AddressSpace.pages`` itself is keyed in huge pages of the file's hstate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.errno import EEXIST, ENOENT, IS_ERR
from models.kernel.locks import spin_lock, spin_unlock
from models.kernel.machine import bug_on
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.structs import HState
    from models.kernel.page import (
        folio_get,
        folio_lock,
        folio_mapped,
        folio_nr_pages,
        folio_put_refs,
        folio_ref_add,
    )
    from models.kernel.structs import AddressSpace, Folio, Inode

#: Folios that one struct folio_batch holds (include/linux/pagevec.h).
PAGEVEC_SIZE: Final = 31


def mapping_order(mapping: AddressSpace) -> int:
    """log2 of base pages of the folios that a file's page cache holds."""
    inode: Inode | None = mapping.host
    assert inode is not None
    return inode.i_sb.hstate.order


@ported("mm/filemap.c", "__filemap_add_folio")
def _filemap_add_folio(
    mapping: AddressSpace, folio: Folio, index: int, gfp: int, shadowp: None
) -> int:
    """Put a locked folio into the page cache at ``index`` (base pages): 0 or -EEXIST.

    The cache takes a reference for every base page of the folio.
    """
    bug_on(not folio.locked, "!folio_test_locked(folio)")
    bug_on(index & (folio_nr_pages(folio) - 1), "index & (folio_nr_pages(folio) - 1)")
    nr = folio_nr_pages(folio)
    folio_ref_add(folio, nr)
    folio.mapping = mapping
    folio.index = index
    key = index >> mapping_order(mapping)
    if key in mapping.pages:
        folio.mapping = None
        folio_put_refs(folio, nr)
        return -EEXIST
    mapping.pages[key] = folio
    return 0


@ported("mm/filemap.c", "page_cache_delete")
def page_cache_delete(mapping: AddressSpace, folio: Folio, shadow: None) -> None:
    """Take a locked folio out of the page cache; its index stays set."""
    bug_on(not folio.locked, "!folio_test_locked(folio)")
    mapping.pages.pop(folio.index >> mapping_order(mapping), None)
    folio.mapping = None


@ported("mm/filemap.c", "filemap_unaccount_folio")
def filemap_unaccount_folio(mapping: AddressSpace, folio: Folio) -> None:
    """Nothing is accounted for huge folios, but a mapped one must not be deleted."""
    bug_on(folio_mapped(folio), "folio_mapped(folio)")


@ported("mm/filemap.c", "__filemap_remove_folio")
def _filemap_remove_folio(folio: Folio, shadow: None) -> None:
    """Take a folio out of the page cache that holds it; its references stay."""
    mapping: AddressSpace = folio.mapping  # type: ignore[assignment]
    filemap_unaccount_folio(mapping, folio)
    page_cache_delete(mapping, folio, shadow)


@ported("mm/filemap.c", "filemap_free_folio")
def filemap_free_folio(mapping: AddressSpace, folio: Folio) -> None:
    """Drop the references that the page cache held, one for every base page."""
    folio_put_refs(folio, folio_nr_pages(folio))


@ported("mm/filemap.c", "filemap_remove_folio")
def filemap_remove_folio(folio: Folio) -> None:
    """Take a locked folio out of the page cache that holds it, and drop the cache's references."""
    mapping: AddressSpace = folio.mapping  # type: ignore[assignment]
    bug_on(not folio.locked, "!folio_test_locked(folio)")
    inode: Inode | None = mapping.host
    assert inode is not None
    spin_lock(inode.i_lock)
    _filemap_remove_folio(folio, None)
    spin_unlock(inode.i_lock)
    filemap_free_folio(mapping, folio)


@ported("include/linux/pagemap.h", "filemap_get_folio")
def filemap_get_folio(mapping: AddressSpace, index: int) -> Folio | int:
    """The folio at ``index`` (base pages), with a reference; -ENOENT if the cache has none."""
    folio = mapping.pages.get(index >> mapping_order(mapping))
    if folio is None:
        return -ENOENT
    folio_get(folio)
    return folio


@ported("include/linux/pagemap.h", "filemap_lock_folio")
def filemap_lock_folio(mapping: AddressSpace, index: int) -> Folio | int:
    """The folio at ``index`` (base pages), locked and with a reference, or -ENOENT."""
    folio = filemap_get_folio(mapping, index)
    if not IS_ERR(folio):
        folio_lock(folio)
    return folio


@ported("include/linux/hugetlb.h", "filemap_lock_hugetlb_folio")
def filemap_lock_hugetlb_folio(h: HState, mapping: AddressSpace, idx: int) -> Folio | int:
    """The folio at ``idx`` (huge pages), locked and with a reference; -ENOENT if there is none."""
    return filemap_lock_folio(mapping, idx << h.order)


@ported("mm/filemap.c", "filemap_get_folios")
def filemap_get_folios(mapping: AddressSpace, start: int, end: int) -> tuple[list[Folio], int]:
    """Up to a batch of folios from ``start`` to ``end`` (base pages, both included).

    Each comes with a reference. The second value is where to go on: after the last folio of a full
    batch, else after ``end`` (which the C stores through its pointer ``start``).
    """
    order = mapping_order(mapping)
    first, last = start >> order, end >> order
    pages = mapping.pages
    batch: list[Folio] = []
    for key in sorted(key for key in pages if first <= key <= last):
        folio = pages[key]
        folio_get(folio)
        batch.append(folio)
        if len(batch) == PAGEVEC_SIZE:
            return batch, folio.index + folio_nr_pages(folio)
    return batch, end + 1


@ported("mm/filemap.c", "filemap_get_folios_contig")
def filemap_get_folios_contig(
    mapping: AddressSpace, start: int, end: int
) -> tuple[list[Folio], int]:
    """Like filemap_get_folios, but stops at the first index without a folio.

    Where a batch ends at a hole, the second value is the index (base pages) of the hole.
    """
    order = mapping_order(mapping)
    batch: list[Folio] = []
    index = start
    while index <= end:
        folio = mapping.pages.get(index >> order)
        if folio is None:
            break
        folio_get(folio)
        batch.append(folio)
        index = folio.index + folio_nr_pages(folio)
        if len(batch) == PAGEVEC_SIZE:
            break
    return batch, index
