"""Reserving huge pages for a mapping or a file, and giving reservations up. In huge pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from models.hugetlb.accounting import hugetlb_acct_memory
from models.hugetlb.cgroup import (
    hugetlb_cgroup_charge_cgroup_rsvd,
    hugetlb_cgroup_put_rsvd_cgroup,
    hugetlb_cgroup_uncharge_cgroup_rsvd,
)
from models.hugetlb.inline import hstate_index, hstate_inode, subpool_inode
from models.hugetlb.region import (
    region_abort,
    region_add,
    region_chg,
    region_del,
)
from models.hugetlb.structs import (
    HPAGE_RESV_OWNER,
    HugetlbCgroup,
    ResvMap,
    blocks_per_huge_page,
    pages_per_huge_page,
)
from models.hugetlb.subpool import hugepage_subpool_get_pages, hugepage_subpool_put_pages
from models.hugetlb.vma_resv import (
    hugetlb_vma_lock_alloc,
    hugetlb_vma_lock_free,
    inode_resv_map,
    is_vma_resv_set,
    resv_map_alloc,
    resv_map_release,
    resv_map_set_hugetlb_cgroup_uncharge_info,
    set_vma_resv_flags,
    set_vma_resv_map,
)
from models.kernel.kref import kref_put
from models.kernel.locks import spin_lock, spin_unlock
from models.kernel.machine import ULONG_MAX, effect, warn_on
from models.kernel.port import ported
from models.kernel.structs import VM_MAYSHARE, VM_NORESERVE

if TYPE_CHECKING:
    from models.kernel.machine import machine
    from models.kernel.structs import Inode, VmArea


@ported("mm/hugetlb.c", "hugetlb_fix_reserve_counts")
def hugetlb_fix_reserve_counts(inode: Inode) -> None:
    """A page is gone but its entry could not be deleted: reserve one, so that the entry is true."""
    spool = subpool_inode(inode)
    reserved = False

    rsv_adjust = hugepage_subpool_get_pages(spool, 1)
    if rsv_adjust > 0:
        h = hstate_inode(inode)

        if not hugetlb_acct_memory(h, 1):
            reserved = True
    elif not rsv_adjust:
        reserved = True

    if not reserved:
        if machine.effects is not None:
            effect("pr_warn hugetlb: Huge Page Reserved count may go negative.")


@ported("mm/hugetlb.c", "hugetlb_reserve_pages")
def hugetlb_reserve_pages(
    inode: Inode, from_: int, to: int, vma: VmArea | None, vm_flags: int
) -> bool:
    """Reserve pages [from_, to) of a file for a mapping (or, without a vma, for SysV shm or memfd).

    Returns whether that succeeded; a failure leaves nothing behind.
    """
    chg = -1
    add = -1
    h = hstate_inode(inode)
    spool = subpool_inode(inode)
    resv_map: ResvMap | None = None
    h_cg: HugetlbCgroup | None = None
    regions_needed = [0]

    if from_ > to:
        warn_on(True, "hugetlb_reserve_pages called with a negative range")
        return False

    hugetlb_vma_lock_alloc(vma)

    if vm_flags & VM_NORESERVE:
        return True

    # A shared mapping needs what the file has not reserved yet; a private one all of its length,
    # even if read-only, since mprotect may make it writable.
    charged = False
    reserved = False
    if vma is None or vma.vm_flags & VM_MAYSHARE:
        resv_map = cast("ResvMap", inode_resv_map(inode))

        chg = region_chg(resv_map, from_, to, regions_needed)
    else:
        resv_map = resv_map_alloc()
        if resv_map is not None:
            chg = to - from_

            set_vma_resv_map(vma, resv_map)
            set_vma_resv_flags(vma, HPAGE_RESV_OWNER)

    # Every step that fails undoes those before it, in reverse.
    if chg >= 0:
        ret, h_cg = hugetlb_cgroup_charge_cgroup_rsvd(hstate_index(h), chg * pages_per_huge_page(h))
        charged = ret >= 0

    if charged:
        resv_map = cast("ResvMap", resv_map)
        if vma is not None and not vma.vm_flags & VM_MAYSHARE and h_cg is not None:
            resv_map_set_hugetlb_cgroup_uncharge_info(resv_map, h_cg, h)

        gbl_reserve = hugepage_subpool_get_pages(spool, chg)
        if gbl_reserve >= 0:
            if not hugetlb_acct_memory(h, gbl_reserve) < 0:
                reserved = True

                # A private mapping's map records only what is used up: nothing to add.
                if vma is None or vma.vm_flags & VM_MAYSHARE:
                    add = region_add(resv_map, from_, to, regions_needed[0], h, h_cg)

                    if add < 0:
                        hugetlb_acct_memory(h, -gbl_reserve)
                        reserved = False
                    elif chg > add:
                        # Raced with alloc_hugetlb_folio, which entered pages of this range.
                        hugetlb_cgroup_uncharge_cgroup_rsvd(
                            hstate_index(h), (chg - add) * pages_per_huge_page(h), h_cg
                        )

                        rsv_adjust = hugepage_subpool_put_pages(spool, chg - add)
                        hugetlb_acct_memory(h, -rsv_adjust)
                    elif h_cg is not None:
                        # The regions hold references of their own.
                        hugetlb_cgroup_put_rsvd_cgroup(h_cg)
                if reserved:
                    return True

            # out_put_pages
            hugepage_subpool_put_pages(spool, chg)
        # out_uncharge_cgroup
        hugetlb_cgroup_uncharge_cgroup_rsvd(hstate_index(h), chg * pages_per_huge_page(h), h_cg)

    # out_err
    hugetlb_vma_lock_free(vma)
    if vma is None or vma.vm_flags & VM_MAYSHARE:
        if chg >= 0 and add < 0:
            region_abort(cast("ResvMap", resv_map), from_, to, regions_needed[0])
    if vma is not None and is_vma_resv_set(vma, HPAGE_RESV_OWNER):
        kref_put(cast("ResvMap", resv_map), resv_map_release)
        set_vma_resv_map(vma, None)
    return False


@ported("mm/hugetlb.c", "hugetlb_unreserve_pages")
def hugetlb_unreserve_pages(inode: Inode, start: int, end: int, freed: int) -> int:
    """Pages [start, end) of a file go, ``freed`` of them from the page cache: 0 or -ENOMEM."""
    h = hstate_inode(inode)
    resv_map = inode_resv_map(inode)
    chg = 0
    spool = subpool_inode(inode)

    if resv_map is not None:
        chg = region_del(resv_map, start, end)
        # Only when a region must be split, so never for LONG_MAX.
        if chg < 0:
            return chg

    spin_lock(inode.i_lock)
    inode.i_blocks = (inode.i_blocks - blocks_per_huge_page(h) * freed) & ULONG_MAX
    spin_unlock(inode.i_lock)

    gbl_reserve = hugepage_subpool_put_pages(spool, chg - freed)
    hugetlb_acct_memory(h, -gbl_reserve)

    return 0
