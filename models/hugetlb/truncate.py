"""What frees and allocates the pages of a file (fs/hugetlbfs/inode.c): truncation, holes, eviction,
fallocate.

Offsets and lengths are in bytes, page-cache offsets (``pgoff``, ``start``, ``end``) in base pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from models.hugetlb.inline import hstate_inode, hstate_vma
from models.hugetlb.inode import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE
from models.hugetlb.structs import (
    VmaLock,
    huge_page_order,
    huge_page_shift,
    huge_page_size,
    pages_per_huge_page,
)
from models.kernel.errno import EINVAL, EOPNOTSUPP, EPERM, IS_ERR
from models.kernel.filemap import (
    filemap_get_folio,
    filemap_get_folios,
    filemap_lock_hugetlb_folio,
    filemap_remove_folio,
)
from models.kernel.fs import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    LLONG_MAX,
    i_size_write,
    inode_lock,
    inode_unlock,
)
from models.kernel.kref import kref_get, kref_put
from models.kernel.locks import down_write, mutex_lock, mutex_unlock, up_write
from models.kernel.machine import LONG_MAX, ULONG_MAX, bug_on
from models.kernel.page import (
    _folio_mark_uptodate,
    folio_lock,
    folio_mapped,
    folio_put,
    folio_set_hugetlb_migratable,
    folio_test_hugetlb_restore_reserve,
    folio_unlock,
    folio_zero_user,
)
from models.kernel.pgtable import (
    ZAP_FLAG_DROP_MARKER,
    huge_pte_none,
    huge_ptep_get,
    hugetlb_walk,
    pte_present,
)
from models.kernel.port import ported
from models.kernel.rmap import (
    i_mmap_lock_write,
    i_mmap_unlock_write,
    vma_interval_tree_foreach,
)
from models.kernel.structs import PAGE_SHIFT, VM_HUGETLB, VM_MAYSHARE, VM_SHARED, VmArea

if TYPE_CHECKING:
    from models.hugetlb.externs import alloc_hugetlb_folio
    from models.hugetlb.fault import (
        hugetlb_add_to_page_cache,
        hugetlb_fault_mutex_hash,
        hugetlb_fault_mutex_table,
    )
    from models.hugetlb.reserve import hugetlb_fix_reserve_counts, hugetlb_unreserve_pages
    from models.hugetlb.structs import HState
    from models.hugetlb.unmap import unmap_hugepage_range
    from models.hugetlb.vma_resv import (
        hugetlb_vma_lock_release,
        hugetlb_vma_trylock_write,
        hugetlb_vma_unlock_write,
        restore_reserve_on_error,
        resv_map_release,
    )
    from models.kernel.machine import machine
    from models.kernel.structs import MM, AddressSpace, File, Folio, Inode


@ported("fs/hugetlbfs/inode.c", "hugetlb_delete_from_page_cache")
def hugetlb_delete_from_page_cache(folio: Folio) -> None:
    """Take a locked folio out of its file."""
    folio.dirty = False
    folio.uptodate = False
    filemap_remove_folio(folio)


@ported("fs/hugetlbfs/inode.c", "hugetlb_vma_maps_page")
def hugetlb_vma_maps_page(vma: VmArea, addr: int, page: Folio) -> bool:
    """Whether the vma maps this folio at ``addr`` (bytes)."""
    ptep = hugetlb_walk(vma, addr, huge_page_size(hstate_vma(vma)))
    if ptep is None:
        return False
    pte = huge_ptep_get(cast("MM", vma.vm_mm), addr, ptep)
    if huge_pte_none(pte) or not pte_present(pte):
        return False
    if pte.folio is page:
        return True
    return False


@ported("fs/hugetlbfs/inode.c", "vma_offset_start")
def vma_offset_start(vma: VmArea, start: int) -> int:
    """Address (bytes) at which the vma maps the page-cache offset, not below its own start."""
    offset = 0
    if vma.vm_pgoff < start:
        offset = (start - vma.vm_pgoff) << PAGE_SHIFT
    return vma.vm_start + offset


@ported("fs/hugetlbfs/inode.c", "vma_offset_end")
def vma_offset_end(vma: VmArea, end: int) -> int:
    """Address (bytes) at which the vma's part before the page-cache offset ends; 0: no bound."""
    if not end:
        return vma.vm_end
    t_end = ((end - vma.vm_pgoff) << PAGE_SHIFT) + vma.vm_start
    if t_end > vma.vm_end:
        t_end = vma.vm_end
    return t_end


@ported("fs/hugetlbfs/inode.c", "hugetlb_unmap_file_folio")
def hugetlb_unmap_file_folio(h: HState, mapping: AddressSpace, folio: Folio, index: int) -> None:
    """Unmap one folio from all vmas of the file, fault mutex held; ``index`` in huge pages.

    When a vma's lock is taken already, all locks are dropped and taken in order again.
    """
    start = index * pages_per_huge_page(h)
    end = (index + 1) * pages_per_huge_page(h)
    i_mmap_lock_write(mapping)
    while True:
        vma_lock: VmaLock | None = None
        for vma in vma_interval_tree_foreach(mapping, start, end - 1):
            v_start = vma_offset_start(vma, start)
            v_end = vma_offset_end(vma, end)
            if not hugetlb_vma_maps_page(vma, v_start, folio):
                continue
            if not hugetlb_vma_trylock_write(vma):
                vma_lock = cast("VmaLock", vma.vm_private_data)
                kref_get(vma_lock)
                break
            unmap_hugepage_range(vma, v_start, v_end, None, ZAP_FLAG_DROP_MARKER)
            hugetlb_vma_unlock_write(vma)
        i_mmap_unlock_write(mapping)
        if vma_lock is None:
            return
        down_write(vma_lock.rw_sema)
        i_mmap_lock_write(mapping)
        attached = vma_lock.vma
        if attached is None:
            up_write(vma_lock.rw_sema)
            kref_put(vma_lock, hugetlb_vma_lock_release)
            continue
        v_start = vma_offset_start(attached, start)
        v_end = vma_offset_end(attached, end)
        if hugetlb_vma_maps_page(attached, v_start, folio):
            unmap_hugepage_range(attached, v_start, v_end, None, ZAP_FLAG_DROP_MARKER)
        kref_put(vma_lock, hugetlb_vma_lock_release)
        hugetlb_vma_unlock_write(attached)


@ported("fs/hugetlbfs/inode.c", "hugetlb_vmdelete_list")
def hugetlb_vmdelete_list(root: AddressSpace, start: int, end: int, zap_flags: int) -> None:
    """Unmap a range of the file (``end`` 0: to the end) from all vmas, private ones included.

    A vma whose lock is taken is skipped: each page is looked at again when it is removed.
    """
    for vma in vma_interval_tree_foreach(root, start, end - 1 if end else ULONG_MAX):
        if not hugetlb_vma_trylock_write(vma):
            continue
        v_start = vma_offset_start(vma, start)
        v_end = vma_offset_end(vma, end)
        unmap_hugepage_range(vma, v_start, v_end, None, zap_flags)
        hugetlb_vma_unlock_write(vma)


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
    if folio_mapped(folio):
        hugetlb_unmap_file_folio(h, mapping, folio, index)
    folio_lock(folio)
    bug_on(folio_test_hugetlb_restore_reserve(folio), "folio_test_hugetlb_restore_reserve(folio)")
    hugetlb_delete_from_page_cache(folio)
    ret = True
    if not truncate_op:
        if hugetlb_unreserve_pages(inode, index, index + 1, 1):
            hugetlb_fix_reserve_counts(inode)
    folio_unlock(folio)
    return ret


@ported("fs/hugetlbfs/inode.c", "remove_inode_hugepages")
def remove_inode_hugepages(inode: Inode, lstart: int, lend: int) -> None:
    """Take the pages from ``lstart`` to ``lend`` (bytes) out of the file.

    ``lend`` LLONG_MAX means truncation: the reservations beyond go too, whether or not their pages
    were there. Any other end means a hole: only reservations of pages found are given up.
    """
    h = hstate_inode(inode)
    mapping = inode.i_mapping
    end = lend >> PAGE_SHIFT
    freed = 0
    truncate_op = lend == LLONG_MAX
    nxt = lstart >> PAGE_SHIFT
    while True:
        fbatch, nxt = filemap_get_folios(mapping, nxt, end - 1)
        if not fbatch:
            break
        for folio in fbatch:
            index = folio.index >> huge_page_order(h)
            hash_ = hugetlb_fault_mutex_hash(mapping, index)
            mutex_lock(hugetlb_fault_mutex_table[hash_])
            if remove_inode_single_folio(h, inode, mapping, folio, index, truncate_op):
                freed += 1
            mutex_unlock(hugetlb_fault_mutex_table[hash_])
        for folio in fbatch:
            folio_put(folio)
    if truncate_op:
        hugetlb_unreserve_pages(inode, lstart >> huge_page_shift(h), LONG_MAX, freed)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_evict_inode")
def hugetlbfs_evict_inode(inode: Inode) -> None:
    """Give up all pages and reservations of an inode that nobody refers to."""
    remove_inode_hugepages(inode, 0, LLONG_MAX)
    resv_map = inode.resv_map
    if resv_map is not None:
        resv_map_release(resv_map)


@ported("fs/hugetlbfs/inode.c", "hugetlb_vmtruncate")
def hugetlb_vmtruncate(inode: Inode, offset: int) -> None:
    """Make the file ``offset`` bytes long, unmapping and removing what is beyond."""
    mapping = inode.i_mapping
    h = hstate_inode(inode)
    bug_on(offset & (huge_page_size(h) - 1), "offset & ~huge_page_mask(h)")
    pgoff = offset >> PAGE_SHIFT
    i_size_write(inode, offset)
    i_mmap_lock_write(mapping)
    if mapping.i_mmap:
        hugetlb_vmdelete_list(mapping, pgoff, 0, ZAP_FLAG_DROP_MARKER)
    i_mmap_unlock_write(mapping)
    remove_inode_hugepages(inode, offset, LLONG_MAX)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_zero_partial_page")
def hugetlbfs_zero_partial_page(h: HState, mapping: AddressSpace, start: int, end: int) -> None:
    """Zero a part (bytes) of one page of the file, if the page is there."""
    idx = start >> huge_page_shift(h)
    folio = filemap_lock_hugetlb_folio(h, mapping, idx)
    if IS_ERR(folio):
        return
    start &= huge_page_size(h) - 1
    # Of a folio's contents only the first word is kept.
    if start == 0:
        folio.data = 0
    folio_unlock(folio)
    folio_put(folio)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_punch_hole")
def hugetlbfs_punch_hole(inode: Inode, offset: int, length: int) -> int:
    """Remove the whole pages of a range (bytes) and zero its partial ones: 0, -EPERM if sealed."""
    mapping = inode.i_mapping
    h = hstate_inode(inode)
    hpage_size = huge_page_size(h)
    hole_start = (offset + hpage_size - 1) & ~(hpage_size - 1)
    hole_end = (offset + length) & ~(hpage_size - 1)
    inode_lock(inode)
    if inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
        inode_unlock(inode)
        return -EPERM
    i_mmap_lock_write(mapping)
    if offset < hole_start:
        hugetlbfs_zero_partial_page(h, mapping, offset, min(offset + length, hole_start))
    if hole_end > hole_start:
        if mapping.i_mmap:
            hugetlb_vmdelete_list(mapping, hole_start >> PAGE_SHIFT, hole_end >> PAGE_SHIFT, 0)
    if offset + length > hole_end and offset + length > hole_start:
        hugetlbfs_zero_partial_page(h, mapping, hole_end, offset + length)
    i_mmap_unlock_write(mapping)
    if hole_end > hole_start:
        remove_inode_hugepages(inode, hole_start, hole_end)
    inode_unlock(inode)
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_fallocate")
def hugetlbfs_fallocate(file: File, mode: int, offset: int, length: int) -> int:
    """Allocate the pages of a range (bytes), or punch a hole: 0 or a negative errno.

    Pages allocated before one fails stay.
    """
    inode = file.f_inode
    mapping = inode.i_mapping
    h = hstate_inode(inode)
    hpage_size = huge_page_size(h)
    hpage_shift = huge_page_shift(h)
    if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
        return -EOPNOTSUPP
    if mode & FALLOC_FL_PUNCH_HOLE:
        return hugetlbfs_punch_hole(inode, offset, length)
    start = offset >> hpage_shift
    end = (offset + length + hpage_size - 1) >> hpage_shift
    inode_lock(inode)
    if inode.seals & F_SEAL_GROW and offset + length > inode.i_size:
        inode_unlock(inode)
        return -EPERM
    task = machine.current
    pseudo_vma = VmArea(task.mm if task is not None else None, 0, 0, 0)
    pseudo_vma.vm_flags = VM_HUGETLB | VM_MAYSHARE | VM_SHARED
    pseudo_vma.vm_file = file
    for index in range(start, end):
        addr = index * hpage_size
        hash_ = hugetlb_fault_mutex_hash(mapping, index)
        mutex_lock(hugetlb_fault_mutex_table[hash_])
        folio = filemap_get_folio(mapping, index << huge_page_order(h))
        if not IS_ERR(folio):
            folio_put(folio)
            mutex_unlock(hugetlb_fault_mutex_table[hash_])
            continue
        folio = alloc_hugetlb_folio(pseudo_vma, addr, 0)
        if IS_ERR(folio):
            mutex_unlock(hugetlb_fault_mutex_table[hash_])
            inode_unlock(inode)
            return folio
        folio_zero_user(folio, addr)
        _folio_mark_uptodate(folio)
        error = hugetlb_add_to_page_cache(folio, mapping, index)
        if error:
            restore_reserve_on_error(h, pseudo_vma, addr, folio)
            folio_put(folio)
            mutex_unlock(hugetlb_fault_mutex_table[hash_])
            inode_unlock(inode)
            return error
        mutex_unlock(hugetlb_fault_mutex_table[hash_])
        folio_set_hugetlb_migratable(folio)
        folio_unlock(folio)
        folio_put(folio)
    if not mode & FALLOC_FL_KEEP_SIZE and offset + length > inode.i_size:
        i_size_write(inode, offset + length)
    inode_unlock(inode)
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_setattr")
def hugetlbfs_setattr(inode: Inode, newsize: int) -> int:
    """Set the file's size in bytes: 0, -EINVAL if not a multiple of the page, -EPERM if sealed."""
    h = hstate_inode(inode)
    oldsize = inode.i_size
    if newsize & (huge_page_size(h) - 1):
        return -EINVAL
    if (newsize < oldsize and inode.seals & F_SEAL_SHRINK) or (
        newsize > oldsize and inode.seals & F_SEAL_GROW
    ):
        return -EPERM
    hugetlb_vmtruncate(inode, newsize)
    return 0
