"""What a vma knows of its reservation, and the lock that a shared mapping has of its own.

``vm_private_data`` is the reservation map of a private mapping or the vma lock of a shared one. The
HPAGE_RESV_* bits, which the C keeps in the low bits of that pointer, are ``vm_private_flags``: both
are written where the C writes the pointer. Addresses are in bytes, offsets and results in huge
pages. PMD sharing never applies (no mapping covers an aligned gigabyte), so its calls are left out.
Failure points: ``kmalloc_resv_map``, ``kmalloc_region`` (the map's first entry),
``kmalloc_vma_lock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from models.hugetlb.inline import hstate_index, is_vm_hugetlb_page, vma_hugecache_offset
from models.hugetlb.region import (
    region_abort,
    region_add,
    region_chg,
    region_del,
)
from models.hugetlb.structs import (
    HPAGE_RESV_OWNER,
    FileRegion,
    ResvMap,
    VmaLock,
    pages_per_huge_page,
)
from models.kernel.kref import kref_put
from models.kernel.lists import list_add, list_del, list_entries
from models.kernel.locks import down_read, down_write, down_write_trylock, up_read, up_write
from models.kernel.machine import LONG_MAX, bug_on, effect, inject
from models.kernel.page import (
    folio_clear_hugetlb_restore_reserve,
    folio_set_hugetlb_restore_reserve,
    folio_test_hugetlb_restore_reserve,
)
from models.kernel.port import ported
from models.kernel.structs import VM_MAYSHARE

if TYPE_CHECKING:
    from models.hugetlb.cgroup import resv_map_put_hugetlb_cgroup_uncharge_info
    from models.hugetlb.structs import HState, HugetlbCgroup
    from models.kernel.machine import machine
    from models.kernel.structs import File, Folio, Inode, VmArea

#: enum vma_resv_mode
VMA_NEEDS_RESV: Final = 0
VMA_COMMIT_RESV: Final = 1
VMA_END_RESV: Final = 2
VMA_ADD_RESV: Final = 3
VMA_DEL_RESV: Final = 4


# ---- the reservation map of a vma ----


@ported("mm/hugetlb.c", "resv_map_set_hugetlb_cgroup_uncharge_info")
def resv_map_set_hugetlb_cgroup_uncharge_info(
    resv_map: ResvMap, h_cg: HugetlbCgroup | None, h: HState | None
) -> None:
    """Note in a private mapping's map which cgroup it was charged to; None for shared ones."""
    if h_cg is None or h is None:
        resv_map.reservation_counter = None
        resv_map.pages_per_hpage = 0
        resv_map.css = None
    else:
        resv_map.reservation_counter = h_cg.rsvd_hugepage[hstate_index(h)]
        resv_map.pages_per_hpage = pages_per_huge_page(h)
        resv_map.css = h_cg.css


@ported("mm/hugetlb.c", "resv_map_alloc")
def resv_map_alloc() -> ResvMap | None:
    """A new map with one reference and one entry in its cache, or None without memory."""
    resv_map = None if inject("kmalloc_resv_map") else ResvMap()
    rg = None if inject("kmalloc_region") else FileRegion()

    if resv_map is None or rg is None:
        return None

    resv_map_set_hugetlb_cgroup_uncharge_info(resv_map, None, None)

    list_add(rg.link, resv_map.region_cache)
    resv_map.region_cache_count = 1

    return resv_map


@ported("mm/hugetlb.c", "resv_map_release")
def resv_map_release(resv_map: ResvMap) -> None:
    """Free a map whose last reference is gone, with its regions and its cache."""
    region_del(resv_map, 0, LONG_MAX)

    for rg in list_entries(resv_map.region_cache):
        list_del(rg.link)

    bug_on(resv_map.adds_in_progress, "resv_map->adds_in_progress")


@ported("mm/hugetlb.c", "get_vma_private_data")
def get_vma_private_data(vma: VmArea) -> tuple[ResvMap | VmaLock | None, int]:
    """The vma's pointer and the bits kept with it."""
    return vma.vm_private_data, vma.vm_private_flags


@ported("mm/hugetlb.c", "set_vma_private_data")
def set_vma_private_data(vma: VmArea, value: ResvMap | VmaLock | None, flags: int) -> None:
    """Set the vma's pointer and the bits kept with it."""
    vma.vm_private_data = value
    vma.vm_private_flags = flags


@ported("mm/hugetlb.c", "inode_resv_map")
def inode_resv_map(inode: Inode) -> ResvMap | None:
    """The map of a file; None for inodes that never had one (directories)."""
    return inode.resv_map


@ported("mm/hugetlb.c", "vma_resv_map")
def vma_resv_map(vma: VmArea) -> ResvMap | None:
    """The map of the file for a shared mapping, of the vma for a private one; may be None."""
    bug_on(not is_vm_hugetlb_page(vma), "!is_vm_hugetlb_page(vma)")
    if vma.vm_flags & VM_MAYSHARE:
        inode = cast("Inode", cast("File", vma.vm_file).f_mapping.host)

        return inode_resv_map(inode)

    return cast("ResvMap | None", vma.vm_private_data)


@ported("mm/hugetlb.c", "set_vma_resv_map")
def set_vma_resv_map(vma: VmArea, map: ResvMap | None) -> None:
    """Give a private mapping its map, without any bits."""
    bug_on(not is_vm_hugetlb_page(vma), "!is_vm_hugetlb_page(vma)")
    bug_on(vma.vm_flags & VM_MAYSHARE, "vma->vm_flags & VM_MAYSHARE")

    set_vma_private_data(vma, map, 0)


@ported("mm/hugetlb.c", "set_vma_resv_flags")
def set_vma_resv_flags(vma: VmArea, flags: int) -> None:
    """Set HPAGE_RESV_* bits of a private mapping."""
    bug_on(not is_vm_hugetlb_page(vma), "!is_vm_hugetlb_page(vma)")
    bug_on(vma.vm_flags & VM_MAYSHARE, "vma->vm_flags & VM_MAYSHARE")

    value, bits = get_vma_private_data(vma)
    set_vma_private_data(vma, value, bits | flags)


@ported("mm/hugetlb.c", "is_vma_resv_set")
def is_vma_resv_set(vma: VmArea, flag: int) -> bool:
    """Whether a HPAGE_RESV_* bit is set; a shared mapping's lock never has one."""
    bug_on(not is_vm_hugetlb_page(vma), "!is_vm_hugetlb_page(vma)")

    return vma.vm_private_flags & flag != 0


@ported("mm/hugetlb.c", "__vma_private_lock")
def _vma_private_lock(vma: VmArea) -> bool:
    """Whether the vma is a private mapping's owner and has the map that serves as its lock."""
    return (
        not vma.vm_flags & VM_MAYSHARE
        and vma.vm_private_data is not None
        and is_vma_resv_set(vma, HPAGE_RESV_OWNER)
    )


@ported("mm/hugetlb.c", "hugetlb_dup_vma_private")
def hugetlb_dup_vma_private(vma: VmArea) -> None:
    """A copied vma starts without its parent's reservation, and without another vma's lock."""
    bug_on(not is_vm_hugetlb_page(vma), "!is_vm_hugetlb_page(vma)")
    if vma.vm_flags & VM_MAYSHARE:
        vma_lock = cast("VmaLock | None", vma.vm_private_data)

        # mremap comes here after vm_op_open gave the vma a lock of its own.
        if vma_lock is not None and vma_lock.vma is not vma:
            vma.vm_private_data = None
            vma.vm_private_flags = 0
    else:
        vma.vm_private_data = None
        vma.vm_private_flags = 0


@ported("mm/hugetlb.c", "clear_vma_resv_huge_pages")
def clear_vma_resv_huge_pages(vma: VmArea) -> None:
    """mremap moved the mapping: its reservation lives on in the new vma, so only drop the share."""
    reservations = vma_resv_map(vma)

    if reservations is not None and is_vma_resv_set(vma, HPAGE_RESV_OWNER):
        resv_map_put_hugetlb_cgroup_uncharge_info(reservations)
        kref_put(reservations, resv_map_release)

    hugetlb_dup_vma_private(vma)


# ---- the lock of a vma ----


@ported("include/linux/hugetlb.h", "__vma_shareable_lock")
def _vma_shareable_lock(vma: VmArea) -> bool:
    """Whether the vma is shared and has a lock of its own."""
    return vma.vm_flags & VM_MAYSHARE != 0 and vma.vm_private_data is not None


@ported("mm/hugetlb.c", "hugetlb_vma_lock_read")
def hugetlb_vma_lock_read(vma: VmArea) -> None:
    """Keep others from unmapping the file's pages, or the private mapping's, while faulting."""
    if _vma_shareable_lock(vma):
        vma_lock = cast("VmaLock", vma.vm_private_data)

        down_read(vma_lock.rw_sema)
    elif _vma_private_lock(vma):
        resv_map = cast("ResvMap", vma_resv_map(vma))

        down_read(resv_map.rw_sema)


@ported("mm/hugetlb.c", "hugetlb_vma_unlock_read")
def hugetlb_vma_unlock_read(vma: VmArea) -> None:
    """Release what hugetlb_vma_lock_read took."""
    if _vma_shareable_lock(vma):
        vma_lock = cast("VmaLock", vma.vm_private_data)

        up_read(vma_lock.rw_sema)
    elif _vma_private_lock(vma):
        resv_map = cast("ResvMap", vma_resv_map(vma))

        up_read(resv_map.rw_sema)


@ported("mm/hugetlb.c", "hugetlb_vma_lock_write")
def hugetlb_vma_lock_write(vma: VmArea) -> None:
    """Keep faults out of the vma."""
    if _vma_shareable_lock(vma):
        vma_lock = cast("VmaLock", vma.vm_private_data)

        down_write(vma_lock.rw_sema)
    elif _vma_private_lock(vma):
        resv_map = cast("ResvMap", vma_resv_map(vma))

        down_write(resv_map.rw_sema)


@ported("mm/hugetlb.c", "hugetlb_vma_unlock_write")
def hugetlb_vma_unlock_write(vma: VmArea) -> None:
    """Release what hugetlb_vma_lock_write took."""
    if _vma_shareable_lock(vma):
        vma_lock = cast("VmaLock", vma.vm_private_data)

        up_write(vma_lock.rw_sema)
    elif _vma_private_lock(vma):
        resv_map = cast("ResvMap", vma_resv_map(vma))

        up_write(resv_map.rw_sema)


@ported("mm/hugetlb.c", "hugetlb_vma_trylock_write")
def hugetlb_vma_trylock_write(vma: VmArea) -> bool:
    """Take the lock for writing if it is free; also true where there is none."""
    if _vma_shareable_lock(vma):
        vma_lock = cast("VmaLock", vma.vm_private_data)

        return down_write_trylock(vma_lock.rw_sema)
    if _vma_private_lock(vma):
        resv_map = cast("ResvMap", vma_resv_map(vma))

        return down_write_trylock(resv_map.rw_sema)

    return True


@ported("mm/hugetlb.c", "hugetlb_vma_assert_locked")
def hugetlb_vma_assert_locked(vma: VmArea) -> None:
    """The lock, where there is one, must be held by someone."""
    if _vma_shareable_lock(vma):
        sem = cast("VmaLock", vma.vm_private_data).rw_sema
        bug_on(sem.writer is None and not sem.readers, "lockdep_assert_held(&vma_lock->rw_sema)")
    elif _vma_private_lock(vma):
        sem = cast("ResvMap", vma_resv_map(vma)).rw_sema
        bug_on(sem.writer is None and not sem.readers, "lockdep_assert_held(&resv_map->rw_sema)")


@ported("mm/hugetlb.c", "hugetlb_vma_lock_release")
def hugetlb_vma_lock_release(vma_lock: VmaLock) -> None:
    """The last reference is gone; nothing but memory to free."""
    bug_on(vma_lock.vma is not None, "vma_lock released while a vma has it")


@ported("mm/hugetlb.c", "__hugetlb_vma_unlock_write_put")
def _hugetlb_vma_unlock_write_put(vma_lock: VmaLock) -> None:
    """Take the lock away from its vma, release it and drop the vma's reference."""
    vma = cast("VmArea", vma_lock.vma)

    vma_lock.vma = None
    vma.vm_private_data = None
    vma.vm_private_flags = 0
    up_write(vma_lock.rw_sema)
    kref_put(vma_lock, hugetlb_vma_lock_release)


@ported("mm/hugetlb.c", "__hugetlb_vma_unlock_write_free")
def _hugetlb_vma_unlock_write_free(vma: VmArea) -> None:
    """Release the lock held for writing; a shared vma loses it for good."""
    if _vma_shareable_lock(vma):
        vma_lock = cast("VmaLock", vma.vm_private_data)

        _hugetlb_vma_unlock_write_put(vma_lock)
    elif _vma_private_lock(vma):
        resv_map = cast("ResvMap", vma_resv_map(vma))

        up_write(resv_map.rw_sema)


@ported("mm/hugetlb.c", "hugetlb_vma_lock_free")
def hugetlb_vma_lock_free(vma: VmArea | None) -> None:
    """Take a shared vma's lock away, if it has one."""
    if vma is None or not _vma_shareable_lock(vma):
        return

    if vma.vm_private_data is not None:
        vma_lock = cast("VmaLock", vma.vm_private_data)

        down_write(vma_lock.rw_sema)
        _hugetlb_vma_unlock_write_put(vma_lock)


@ported("mm/hugetlb.c", "hugetlb_vma_lock_alloc")
def hugetlb_vma_lock_alloc(vma: VmArea | None) -> None:
    """Give a shared vma a lock of its own; without memory it does without."""
    if vma is None or not vma.vm_flags & VM_MAYSHARE:
        return

    if vma.vm_private_data is not None:
        return

    if inject("kmalloc_vma_lock"):
        if machine.effects is not None:
            effect("pr_warn_once HugeTLB: unable to allocate vma specific lock")
        return

    vma.vm_private_data = VmaLock(vma)
    vma.vm_private_flags = 0


# ---- reservations of single pages ----


@ported("mm/hugetlb.c", "__vma_reservation_common")
def _vma_reservation_common(h: HState, vma: VmArea, addr: int, mode: int) -> int:
    """Do one step of an addition to the vma's map for the page at ``addr``.

    Returns 1 where a reservation is needed (always without a map), 0 where it exists, or -ENOMEM;
    for VMA_DEL_RESV and shared mappings, what the map said.
    """
    resv = vma_resv_map(vma)
    if resv is None:
        return 1

    idx = vma_hugecache_offset(h, vma, addr)
    if mode == VMA_NEEDS_RESV:
        dummy_out_regions_needed = [0]
        ret = region_chg(resv, idx, idx + 1, dummy_out_regions_needed)
        bug_on(dummy_out_regions_needed[0] != 1, "dummy_out_regions_needed != 1")
    elif mode == VMA_COMMIT_RESV:
        ret = region_add(resv, idx, idx + 1, 1, None, None)
        bug_on(ret < 0, "VMA_COMMIT_RESV: ret < 0")
    elif mode == VMA_END_RESV:
        region_abort(resv, idx, idx + 1, 1)
        ret = 0
    elif mode == VMA_ADD_RESV:
        if vma.vm_flags & VM_MAYSHARE:
            ret = region_add(resv, idx, idx + 1, 1, None, None)
            bug_on(ret < 0, "VMA_ADD_RESV: ret < 0")
        else:
            region_abort(resv, idx, idx + 1, 1)
            ret = region_del(resv, idx, idx + 1)
    else:
        bug_on(mode != VMA_DEL_RESV, "__vma_reservation_common: mode")
        if vma.vm_flags & VM_MAYSHARE:
            region_abort(resv, idx, idx + 1, 1)
            ret = region_del(resv, idx, idx + 1)
        else:
            ret = region_add(resv, idx, idx + 1, 1, None, None)
            bug_on(ret < 0, "VMA_DEL_RESV: ret < 0")

    if vma.vm_flags & VM_MAYSHARE or mode == VMA_DEL_RESV:
        return ret
    # In a private mapping's map an entry means that the reservation was used up.
    if ret > 0:
        return 0
    if ret == 0:
        return 1
    return ret


@ported("mm/hugetlb.c", "vma_needs_reservation")
def vma_needs_reservation(h: HState, vma: VmArea, addr: int) -> int:
    """Whether the page has no reservation (1) or has one (0), or -ENOMEM; begins an addition."""
    return _vma_reservation_common(h, vma, addr, VMA_NEEDS_RESV)


@ported("mm/hugetlb.c", "vma_commit_reservation")
def vma_commit_reservation(h: HState, vma: VmArea, addr: int) -> int:
    """The page was allocated: enter it. Returns what vma_needs_reservation did, unless raced."""
    return _vma_reservation_common(h, vma, addr, VMA_COMMIT_RESV)


@ported("mm/hugetlb.c", "vma_end_reservation")
def vma_end_reservation(h: HState, vma: VmArea, addr: int) -> None:
    """The page was not allocated: end the addition."""
    _vma_reservation_common(h, vma, addr, VMA_END_RESV)


@ported("mm/hugetlb.c", "vma_add_reservation")
def vma_add_reservation(h: HState, vma: VmArea, addr: int) -> int:
    """Give the page its reservation back."""
    return _vma_reservation_common(h, vma, addr, VMA_ADD_RESV)


@ported("mm/hugetlb.c", "vma_del_reservation")
def vma_del_reservation(h: HState, vma: VmArea, addr: int) -> int:
    """Take away the entry that an allocation made for the page."""
    return _vma_reservation_common(h, vma, addr, VMA_DEL_RESV)


@ported("mm/hugetlb.c", "restore_reserve_on_error")
def restore_reserve_on_error(h: HState, vma: VmArea, address: int, folio: Folio) -> None:
    """Undo in the map what alloc_hugetlb_folio did for a folio that will not be used."""
    rc = vma_needs_reservation(h, vma, address)

    if folio_test_hugetlb_restore_reserve(folio):
        if rc < 0:
            # No memory for the map: make the page look as if it used the reservation up.
            folio_clear_hugetlb_restore_reserve(folio)
        elif rc:
            vma_add_reservation(h, vma, address)
        else:
            vma_end_reservation(h, vma, address)
    else:
        if not rc:
            # The entry was there before the allocation, or the folio would restore its reserve.
            rc = vma_del_reservation(h, vma, address)
            if rc < 0:
                folio_set_hugetlb_restore_reserve(folio)
        elif rc < 0:
            # No entry, and none can be made: in a private mapping that promises a reservation.
            if not vma.vm_flags & VM_MAYSHARE:
                folio_set_hugetlb_restore_reserve(folio)
        else:
            vma_end_reservation(h, vma, address)
