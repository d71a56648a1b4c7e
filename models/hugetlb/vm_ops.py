"""hugetlb_vm_ops: what the rest of mm calls when a mapping is copied, closed or split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import HPAGE_RESV_OWNER, VmaLock, huge_page_mask, huge_page_size
from models.kernel.errno import EINVAL
from models.kernel.machine import bug_on
from models.kernel.pgtable import PUD_MASK, PUD_SIZE
from models.kernel.port import ported, static_data
from models.kernel.structs import VM_MAYSHARE, VmOperations

if TYPE_CHECKING:
    from models.hugetlb.accounting import hugetlb_acct_memory
    from models.hugetlb.cgroup import (
        hugetlb_cgroup_uncharge_counter,
        resv_map_dup_hugetlb_cgroup_uncharge_info,
    )
    from models.hugetlb.inline import hstate_vma, subpool_vma, vma_hugecache_offset
    from models.hugetlb.region import region_count
    from models.hugetlb.subpool import hugepage_subpool_put_pages
    from models.hugetlb.vma_resv import (
        hugetlb_vma_lock_alloc,
        hugetlb_vma_lock_free,
        hugetlb_vma_lock_write,
        hugetlb_vma_unlock_write,
        is_vma_resv_set,
        resv_map_release,
        vma_resv_map,
    )
    from models.kernel.kref import kref_get, kref_put
    from models.kernel.locks import spin_unlock
    from models.kernel.pgtable import huge_pte_lock, hugetlb_walk
    from models.kernel.rmap import i_mmap_lock_write, i_mmap_unlock_write
    from models.kernel.structs import VmArea

hugetlb_vm_ops: VmOperations


@static_data
def hugetlb_vm_ops_init() -> None:
    """The table of operations, with the functions of this system."""
    global hugetlb_vm_ops
    hugetlb_vm_ops = VmOperations(
        fault=hugetlb_vm_op_fault,
        open=hugetlb_vm_op_open,
        close=hugetlb_vm_op_close,
        may_split=hugetlb_vm_op_split,
        pagesize=hugetlb_vm_op_pagesize,
    )


@ported("mm/hugetlb.c", "hugetlb_vm_op_open")
def hugetlb_vm_op_open(vma: VmArea) -> None:
    """A copy of a mapping was made: share its reservation map, or get a vma lock of its own."""
    resv = vma_resv_map(vma)

    if resv is not None and is_vma_resv_set(vma, HPAGE_RESV_OWNER):
        resv_map_dup_hugetlb_cgroup_uncharge_info(resv)
        kref_get(resv)

    if vma.vm_flags & VM_MAYSHARE:
        vma_lock = vma.vm_private_data
        if vma_lock is not None:
            assert isinstance(vma_lock, VmaLock)
            # A lock of this vma already is only worth a line in the kernel's log.
            if vma_lock.vma is not vma:
                vma.vm_private_data = None
                hugetlb_vma_lock_alloc(vma)
        else:
            hugetlb_vma_lock_alloc(vma)


@ported("mm/hugetlb.c", "hugetlb_vm_op_close")
def hugetlb_vm_op_close(vma: VmArea) -> None:
    """A mapping goes away: a private owner gives back the reservations it has not used."""
    h = hstate_vma(vma)
    spool = subpool_vma(vma)

    hugetlb_vma_lock_free(vma)

    resv = vma_resv_map(vma)
    if resv is None or not is_vma_resv_set(vma, HPAGE_RESV_OWNER):
        return

    start = vma_hugecache_offset(h, vma, vma.vm_start)
    end = vma_hugecache_offset(h, vma, vma.vm_end)

    reserve = (end - start) - region_count(resv, start, end)
    hugetlb_cgroup_uncharge_counter(resv, start, end)
    if reserve:
        gbl_reserve = hugepage_subpool_put_pages(spool, reserve)
        hugetlb_acct_memory(h, -gbl_reserve)

    kref_put(resv, resv_map_release)


@ported("mm/hugetlb.c", "hugetlb_vm_op_split")
def hugetlb_vm_op_split(vma: VmArea, addr: int) -> int:
    """Whether the mapping may be split at ``addr`` (bytes): 0, or -EINVAL inside a huge page."""
    if addr & ~huge_page_mask(hstate_vma(vma)):
        return -EINVAL

    # A split that takes the alignment which shared tables need away unshares them.
    if addr & ~PUD_MASK:
        floor = addr & PUD_MASK
        ceil = floor + PUD_SIZE
        if floor >= vma.vm_start and ceil <= vma.vm_end:
            hugetlb_unshare_pmds(vma, floor, ceil)
    return 0


@ported("mm/hugetlb.c", "hugetlb_unshare_pmds")
def hugetlb_unshare_pmds(vma: VmArea, start: int, end: int) -> None:
    """Take the locks under which tables of ``start`` to ``end`` (bytes) would be unshared.

    Tables are never shared here, so that nothing is found.
    """
    h = hstate_vma(vma)
    sz = huge_page_size(h)

    if not vma.vm_flags & VM_MAYSHARE:
        return
    if start >= end:
        return

    hugetlb_vma_lock_write(vma)
    assert vma.vm_file is not None
    assert vma.vm_mm is not None
    mapping = vma.vm_file.f_mapping
    i_mmap_lock_write(mapping)
    for address in range(start, end, PUD_SIZE):
        ptep = hugetlb_walk(vma, address, sz)
        if ptep is None:
            continue
        ptl = huge_pte_lock(h, vma.vm_mm, ptep)
        spin_unlock(ptl)
    i_mmap_unlock_write(mapping)
    hugetlb_vma_unlock_write(vma)


@ported("mm/hugetlb.c", "hugetlb_unshare_all_pmds")
def hugetlb_unshare_all_pmds(vma: VmArea) -> None:
    """Unshare every table that the mapping has for itself."""
    hugetlb_unshare_pmds(vma, -(-vma.vm_start // PUD_SIZE) * PUD_SIZE, vma.vm_end & PUD_MASK)


@ported("mm/hugetlb.c", "hugetlb_vm_op_pagesize")
def hugetlb_vm_op_pagesize(vma: VmArea) -> int:
    """Bytes of the mapping's pages."""
    return huge_page_size(hstate_vma(vma))


@ported("mm/hugetlb.c", "hugetlb_vm_op_fault")
def hugetlb_vm_op_fault(vmf: object) -> int:
    """Never called: faults on huge pages go to hugetlb_fault.

    Raises:
        KernelBug: always.
    """
    bug_on(True, "hugetlb_vm_op_fault")
    return 0
