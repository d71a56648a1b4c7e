# Fidelity: DUP
"""Unmapping whole vmas or parts of one (mm/memory.c); all vmas here are of huge pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.pgtable import ZAP_FLAG_DROP_MARKER, ZAP_FLAG_UNMAP
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.unmap import (
        _hugetlb_zap_begin,
        _hugetlb_zap_end,
        _unmap_hugepage_range,
    )
    from models.kernel.mm import unlink_file_vma
    from models.kernel.pgtable import (
        MmuGather,
        hugetlb_free_pgd_range,
        tlb_finish_mmu,
        tlb_gather_mmu,
    )
    from models.kernel.rmap import unlink_anon_vmas
    from models.kernel.structs import VmArea


@ported("mm/memory.c", "unmap_single_vma")
def unmap_single_vma(
    tlb: MmuGather, vma: VmArea, start_addr: int, end_addr: int, zap_flags: int
) -> None:
    """Unmap what ``start_addr`` to ``end_addr`` (bytes) covers of one vma."""
    start = max(vma.vm_start, start_addr)
    if start >= vma.vm_end:
        return
    end = min(vma.vm_end, end_addr)
    if end <= vma.vm_start:
        return
    # mmap_region() takes the file away when the file's mmap failed: nothing is mapped then.
    if start != end and vma.vm_file is not None:
        _unmap_hugepage_range(tlb, vma, start, end, None, zap_flags)


@ported("mm/memory.c", "unmap_vmas")
def unmap_vmas(tlb: MmuGather, vmas: list[VmArea], start_addr: int, end_addr: int) -> None:
    """Unmap ``start_addr`` to ``end_addr`` (bytes) of vmas that are going away."""
    zap_flags = ZAP_FLAG_DROP_MARKER | ZAP_FLAG_UNMAP
    for vma in vmas:
        _hugetlb_zap_begin(vma)
        unmap_single_vma(tlb, vma, start_addr, end_addr, zap_flags)
        _hugetlb_zap_end(vma, zap_flags)


@ported("mm/memory.c", "free_pgtables")
def free_pgtables(tlb: MmuGather, vmas: list[VmArea]) -> None:
    """Hide the vmas from rmap and truncation, and free their page tables."""
    for vma in vmas:
        unlink_anon_vmas(vma)
        unlink_file_vma(vma)
        hugetlb_free_pgd_range(tlb, vma.vm_start, vma.vm_end)


@ported("mm/memory.c", "zap_page_range_single")
def zap_page_range_single(vma: VmArea, address: int, size: int, zap_flags: int) -> None:
    """Unmap ``size`` bytes from ``address`` of a vma that stays."""
    _hugetlb_zap_begin(vma)
    tlb = tlb_gather_mmu(vma.vm_mm)
    unmap_single_vma(tlb, vma, address, address + size, zap_flags)
    tlb_finish_mmu(tlb)
    _hugetlb_zap_end(vma, zap_flags)
