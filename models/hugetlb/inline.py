"""Short functions of include/linux/hugetlb.h that lead from one structure to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import huge_page_order, huge_page_shift
from models.kernel.errno import IS_ERR
from models.kernel.machine import bug_on
from models.kernel.port import ported
from models.kernel.structs import PAGE_SHIFT, VM_HUGETLB

if TYPE_CHECKING:
    from models.hugetlb.hstate import hstates
    from models.hugetlb.structs import HState, Subpool
    from models.kernel.filemap import filemap_get_folio
    from models.kernel.page import folio_put
    from models.kernel.structs import MM, File, Folio, Inode, VmArea


@ported("include/linux/hugetlb_inline.h", "is_vm_hugetlb_page")
def is_vm_hugetlb_page(vma: VmArea) -> bool:
    """Whether the vma maps huge pages of hugetlbfs."""
    return vma.vm_flags & VM_HUGETLB != 0


@ported("include/linux/hugetlb.h", "hstate_inode")
def hstate_inode(i: Inode) -> HState:
    """The hstate of the file system that the inode is on."""
    return i.i_sb.hstate


@ported("include/linux/hugetlb.h", "hstate_file")
def hstate_file(f: File) -> HState:
    """The hstate of an open file."""
    return f.f_inode.i_sb.hstate


@ported("include/linux/hugetlb.h", "hstate_vma")
def hstate_vma(vma: VmArea) -> HState:
    """The hstate of the file that the vma maps."""
    return vma.vm_file.f_inode.i_sb.hstate  # type: ignore[union-attr]


@ported("include/linux/hugetlb.h", "folio_hstate")
def folio_hstate(folio: Folio) -> HState:
    """The hstate of the folio's size."""
    bug_on(not folio.hugetlb, "folio_hstate: !folio_test_hugetlb(folio)")
    order = folio.order
    for h in hstates:
        if h.order == order:
            return h
    msg = f"no hstate has order {order}"
    raise AssertionError(msg)


@ported("include/linux/hugetlb.h", "hstate_index")
def hstate_index(h: HState) -> int:
    """Index of the hstate in ``hstates``."""
    return h.index


@ported("mm/hugetlb.c", "subpool_inode")
def subpool_inode(inode: Inode) -> Subpool | None:
    """The subpool of the file system that the inode is on, or None."""
    return inode.i_sb.spool


@ported("mm/hugetlb.c", "subpool_vma")
def subpool_vma(vma: VmArea) -> Subpool | None:
    """The subpool of the file that the vma maps, or None."""
    return vma.vm_file.f_inode.i_sb.spool  # type: ignore[union-attr]


@ported("mm/hugetlb.c", "vma_hugecache_offset")
def vma_hugecache_offset(h: HState, vma: VmArea, address: int) -> int:
    """Offset in the file, in huge pages, of ``address`` (bytes)."""
    return ((address - vma.vm_start) >> huge_page_shift(h)) + (vma.vm_pgoff >> huge_page_order(h))


@ported("include/linux/pagemap.h", "linear_page_index")
def linear_page_index(vma: VmArea, address: int) -> int:
    """Offset in the file, in base pages, of ``address`` (bytes)."""
    return ((address - vma.vm_start) >> PAGE_SHIFT) + vma.vm_pgoff


@ported("include/linux/hugetlb.h", "hugetlb_linear_page_index")
def hugetlb_linear_page_index(vma: VmArea, address: int) -> int:
    """Offset in the file, in huge pages, of ``address`` (bytes)."""
    return linear_page_index(vma, address) >> huge_page_order(hstate_vma(vma))


@ported("mm/hugetlb.c", "hugetlbfs_pagecache_present")
def hugetlbfs_pagecache_present(h: HState, vma: VmArea, address: int) -> bool:
    """Whether the page cache has a folio for ``address`` (bytes)."""
    assert vma.vm_file is not None
    mapping = vma.vm_file.f_mapping
    folio = filemap_get_folio(mapping, linear_page_index(vma, address))
    if IS_ERR(folio):
        return False
    folio_put(folio)
    return True


@ported("include/linux/hugetlb.h", "hugetlb_count_add")
def hugetlb_count_add(pages: int, mm: MM) -> None:
    """Add to what /proc/PID/status reports as HugetlbPages (base pages)."""
    mm.hugetlb_usage += pages


@ported("include/linux/hugetlb.h", "hugetlb_count_sub")
def hugetlb_count_sub(pages: int, mm: MM) -> None:
    """Take off what /proc/PID/status reports as HugetlbPages (base pages)."""
    mm.hugetlb_usage -= pages
