# Fidelity: DUP
"""memfd_create(2) with MFD_HUGETLB, and folios of such a file for a device (mm/memfd.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.hstate import htlb_alloc_mask
from models.hugetlb.inline import hstate_file
from models.hugetlb.inode import HUGETLB_ANONHUGE_INODE, hugetlb_file_setup
from models.hugetlb.structs import huge_page_order
from models.kernel.errno import ENOMEM, IS_ERR
from models.kernel.fs import fd_install
from models.kernel.gfp import _GFP_HIGHMEM, _GFP_MOVABLE
from models.kernel.locks import mutex_lock, mutex_unlock
from models.kernel.nodes import numa_node_id
from models.kernel.page import _folio_mark_uptodate, folio_put, folio_unlock, folio_zero_user
from models.kernel.port import ported
from models.kernel.structs import VM_NORESERVE

if TYPE_CHECKING:
    from models.hugetlb.fault import (
        hugetlb_add_to_page_cache,
        hugetlb_fault_mutex_hash,
        hugetlb_fault_mutex_table,
    )
    from models.hugetlb.surplus import alloc_hugetlb_folio_reserve
    from models.kernel.structs import File, Folio


@ported("mm/memfd.c", "memfd_create")
def sys_memfd_create(fd: str, page_size_log: int) -> int:
    """An empty file of pages of 2**``page_size_log`` bytes, not reserved for: 0 or an errno."""
    file = hugetlb_file_setup("memfd", 0, VM_NORESERVE, HUGETLB_ANONHUGE_INODE, page_size_log)
    if IS_ERR(file):
        return file
    fd_install(fd, file)
    return 0


@ported("mm/memfd.c", "memfd_alloc_folio")
def memfd_alloc_folio(memfd: File, idx: int) -> Folio | int:
    """Allocate the folio at ``idx`` (base pages) from the reserved pages: it, or a negative errno.

    It comes with the allocation's reference beside the page cache's.
    """
    h = hstate_file(memfd)
    gfp_mask = htlb_alloc_mask(h)
    gfp_mask &= ~(_GFP_HIGHMEM | _GFP_MOVABLE)
    idx >>= huge_page_order(h)
    folio = alloc_hugetlb_folio_reserve(h, numa_node_id(), None, gfp_mask)
    if folio is not None:
        folio_zero_user(folio, 0)
        _folio_mark_uptodate(folio)
        hash_ = hugetlb_fault_mutex_hash(memfd.f_mapping, idx)
        mutex_lock(hugetlb_fault_mutex_table[hash_])
        err = hugetlb_add_to_page_cache(folio, memfd.f_mapping, idx)
        mutex_unlock(hugetlb_fault_mutex_table[hash_])
        if err:
            folio_put(folio)
            return err
        folio_unlock(folio)
        return folio
    return -ENOMEM
