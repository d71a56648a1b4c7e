# Fidelity: DUP
"""memfd_create(2) with MFD_HUGETLB, and folios of such a file for a device (mm/memfd.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.hstate import htlb_alloc_mask
from models.hugetlb.inline import hstate_file
from models.hugetlb.inode import HUGETLB_ANONHUGE_INODE, hugetlb_file_setup
from models.hugetlb.structs import huge_page_order, huge_page_shift
from models.kernel.errno import EBADF, EEXIST, EINVAL, ENOMEM, IS_ERR
from models.kernel.filemap import filemap_get_folios_contig
from models.kernel.fs import fd_install, fget, fput
from models.kernel.gfp import _GFP_HIGHMEM, _GFP_MOVABLE
from models.kernel.gup import FOLL_PIN, PinnedBuffer, try_grab_folio, unpin_user_pages
from models.kernel.locks import mutex_lock, mutex_unlock
from models.kernel.nodes import numa_node_id
from models.kernel.page import _folio_mark_uptodate, folio_put, folio_unlock, folio_zero_user
from models.kernel.port import ported
from models.kernel.structs import PAGE_SIZE, VM_NORESERVE

if TYPE_CHECKING:
    from models.hugetlb.fault import (
        hugetlb_add_to_page_cache,
        hugetlb_fault_mutex_hash,
        hugetlb_fault_mutex_table,
    )
    from models.hugetlb.surplus import alloc_hugetlb_folio_reserve
    from models.kernel.machine import machine
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


@ported("mm/gup.c", "memfd_pin_folios")
def memfd_pin_folios(
    memfd: File, start: int, end: int, folios: list[Folio], max_folios: int
) -> int:
    """Pin the file's folios from ``start`` to ``end`` (bytes, included), allocating missing ones.

    Fills ``folios`` and returns their number, or a negative errno with nothing left pinned. All
    memory may be pinned for long here, so that nothing has to be migrated first.
    """
    if start < 0 or start > end or not max_folios:
        return -EINVAL
    if end >= memfd.f_inode.i_size:
        return -EINVAL
    h = hstate_file(memfd)
    order = huge_page_order(h)
    pgshift = huge_page_shift(h)
    start_idx = start >> pgshift << order
    end_idx = end >> pgshift << order
    folio: Folio | None = None
    while start_idx <= end_idx and len(folios) < max_folios:
        fbatch, start_idx = filemap_get_folios_contig(memfd.f_mapping, start_idx, end_idx)
        if folio is not None:
            folio_put(folio)
            folio = None
        for found in fbatch:
            if try_grab_folio(found, 1, FOLL_PIN):
                for other in fbatch:
                    folio_put(other)
                unpin_user_pages(folios)
                return -EINVAL
            folios.append(found)
            if len(folios) == max_folios:
                break
        for found in fbatch:
            folio_put(found)
        if not fbatch:
            new = memfd_alloc_folio(memfd, start_idx)
            if IS_ERR(new):
                if new != -EEXIST:
                    unpin_user_pages(folios)
                    return new
            else:
                folio = new
    return len(folios)


@ported("drivers/dma-buf/udmabuf.c", "udmabuf_create")
def sys_memfd_pin_folios(name: str, fd: str, start: int, length: int) -> int:
    """Make a buffer for devices of ``length`` bytes of a file: 0 or a negative errno.

    It holds its pages as the buffers of a ring do, and goes with them.
    """
    task = machine.current
    assert task is not None
    memfd = fget(fd)
    if memfd is None:
        return -EBADF
    folios: list[Folio] = []
    ret = memfd_pin_folios(memfd, start, start + length - 1, folios, length // PAGE_SIZE)
    fput(memfd)
    if ret < 0:
        return ret
    task.pins[name] = PinnedBuffer(0, length, folios)
    return 0
