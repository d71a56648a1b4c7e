"""The file regions of a reservation map, their cache, and the counts of additions in progress.

Offsets and results are in huge pages. ``long *regions_needed`` is a list of one number, since
NULL selects another mode. Failure point: ``kmalloc_region`` (struct file_region).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from models.hugetlb.inline import hstate_index
from models.hugetlb.structs import FileRegion, ResvMap, pages_per_huge_page
from models.kernel.errno import ENOMEM
from models.kernel.lists import (
    ListHead,
    list_add,
    list_del,
    list_entries,
    list_first_entry,
    list_splice_init,
)
from models.kernel.locks import spin_lock, spin_unlock
from models.kernel.machine import bug_on, inject
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.cgroup import hugetlb_cgroup_uncharge_file_region
    from models.hugetlb.structs import HState, HugetlbCgroup
    from models.kernel.cgroup import css_get, css_put


@ported("mm/hugetlb.c", "get_file_region_entry_from_cache")
def get_file_region_entry_from_cache(resv: ResvMap, from_: int, to: int) -> FileRegion:
    """Take a region out of the map's cache and make it [from_, to)."""
    bug_on(resv.region_cache_count <= 0, "resv->region_cache_count <= 0")

    resv.region_cache_count -= 1
    nrg = list_first_entry(resv.region_cache)
    list_del(nrg.link)

    nrg.from_ = from_
    nrg.to = to

    return nrg


@ported("mm/hugetlb.c", "copy_hugetlb_cgroup_uncharge_info")
def copy_hugetlb_cgroup_uncharge_info(nrg: FileRegion, rg: FileRegion) -> None:
    """The second half of a split region is charged to the same cgroup and holds its css too."""
    nrg.reservation_counter = rg.reservation_counter
    nrg.css = rg.css
    if rg.css is not None:
        css_get(rg.css)


@ported("mm/hugetlb.c", "record_hugetlb_cgroup_uncharge_info")
def record_hugetlb_cgroup_uncharge_info(
    h_cg: HugetlbCgroup | None, h: HState | None, resv: ResvMap, nrg: FileRegion
) -> None:
    """Note in a new region which cgroup its pages were charged to, with a css reference."""
    if h_cg is not None:
        h = cast("HState", h)
        nrg.reservation_counter = h_cg.rsvd_hugepage[hstate_index(h)]
        nrg.css = h_cg.css
        # Each region holds one reference of its own; the caller's stays the caller's.
        css_get(h_cg.css)
        if not resv.pages_per_hpage:
            resv.pages_per_hpage = pages_per_huge_page(h)
        bug_on(
            resv.pages_per_hpage != pages_per_huge_page(h),
            "resv->pages_per_hpage != pages_per_huge_page(h)",
        )
    else:
        nrg.reservation_counter = None
        nrg.css = None


@ported("mm/hugetlb.c", "put_uncharge_info")
def put_uncharge_info(rg: FileRegion) -> None:
    """Drop the css reference of a region that was merged into its neighbour."""
    if rg.css is not None:
        css_put(rg.css)


@ported("mm/hugetlb.c", "has_same_uncharge_info")
def has_same_uncharge_info(rg: FileRegion, org: FileRegion) -> bool:
    """Whether two regions are charged to the same counter and hold the same css."""
    return rg.reservation_counter is org.reservation_counter and rg.css is org.css


@ported("mm/hugetlb.c", "coalesce_file_region")
def coalesce_file_region(resv: ResvMap, rg: FileRegion) -> None:
    """Merge a region with the one before, and then with the one after, if they touch."""
    # Only the list's head has no entry.
    prg = rg.link.prev.entry
    if prg is not None and prg.to == rg.from_ and has_same_uncharge_info(prg, rg):
        prg.to = rg.to

        list_del(rg.link)
        put_uncharge_info(rg)

        rg = prg

    nrg = rg.link.next.entry
    if nrg is not None and nrg.from_ == rg.to and has_same_uncharge_info(nrg, rg):
        nrg.from_ = rg.from_

        list_del(rg.link)
        put_uncharge_info(rg)


@ported("mm/hugetlb.c", "hugetlb_resv_map_add")
def hugetlb_resv_map_add(
    map: ResvMap,
    rg: ListHead[FileRegion],
    from_: int,
    to: int,
    h: HState | None,
    cg: HugetlbCgroup | None,
    regions_needed: list[int] | None,
) -> int:
    """Insert [from_, to) after ``rg``, or only count it; returns its length."""
    if regions_needed is None:
        nrg = get_file_region_entry_from_cache(map, from_, to)
        record_hugetlb_cgroup_uncharge_info(cg, h, map, nrg)
        list_add(nrg.link, rg)
        coalesce_file_region(map, nrg)
    else:
        regions_needed[0] += 1

    return to - from_


@ported("mm/hugetlb.c", "add_reservation_in_range")
def add_reservation_in_range(
    resv: ResvMap,
    f: int,
    t: int,
    h_cg: HugetlbCgroup | None,
    h: HState | None,
    regions_needed: list[int] | None,
) -> int:
    """Fill the gaps of [f, t), or, when ``regions_needed`` is given, only count them.

    Returns the number of pages in the gaps. Called with resv->lock held.
    """
    add = 0
    head = resv.regions
    last_accounted_offset = f
    rg: ListHead[FileRegion] | None = None

    if regions_needed is not None:
        regions_needed[0] = 0

    for iter in list_entries(head):
        # Skip regions that start before the range; one may reach into it.
        if iter.from_ < f:
            if iter.to > last_accounted_offset:
                last_accounted_offset = iter.to
            continue

        if iter.from_ >= t:
            rg = iter.link.prev
            break

        # The gap before this region.
        if iter.from_ > last_accounted_offset:
            add += hugetlb_resv_map_add(
                resv, iter.link.prev, last_accounted_offset, iter.from_, h, h_cg, regions_needed
            )

        last_accounted_offset = iter.to

    # The gap after the last region.
    if rg is None:
        rg = head.prev
    if last_accounted_offset < t:
        add += hugetlb_resv_map_add(resv, rg, last_accounted_offset, t, h, h_cg, regions_needed)

    return add


@ported("mm/hugetlb.c", "allocate_file_region_entries")
def allocate_file_region_entries(resv: ResvMap, regions_needed: int) -> int:
    """Fill the map's cache for all additions in progress and ``regions_needed`` more regions.

    Drops and retakes resv->lock. Returns 0, or -ENOMEM and then without the lock.
    """
    allocated_regions: ListHead[FileRegion] = ListHead()

    bug_on(regions_needed < 0, "regions_needed < 0")

    # Others may use up entries while the lock is not held, hence the loop.
    while resv.region_cache_count < resv.adds_in_progress + regions_needed:
        to_allocate = resv.adds_in_progress + regions_needed - resv.region_cache_count

        bug_on(
            resv.region_cache_count < resv.adds_in_progress,
            "resv->region_cache_count < resv->adds_in_progress",
        )

        spin_unlock(resv.lock)
        for _ in range(to_allocate):
            if inject("kmalloc_region"):
                for rg in list_entries(allocated_regions):
                    list_del(rg.link)
                return -ENOMEM
            trg = FileRegion()
            list_add(trg.link, allocated_regions)

        spin_lock(resv.lock)

        list_splice_init(allocated_regions, resv.region_cache)
        resv.region_cache_count += to_allocate

    return 0


@ported("mm/hugetlb.c", "region_add")
def region_add(
    resv: ResvMap,
    f: int,
    t: int,
    in_regions_needed: int,
    h: HState | None,
    h_cg: HugetlbCgroup | None,
) -> int:
    """Add [f, t) to the map and end the addition that region_chg began.

    Returns the number of pages that were not in the map, or -ENOMEM.
    """
    actual_regions_needed = [0]

    spin_lock(resv.lock)
    while True:
        add_reservation_in_range(resv, f, t, None, None, actual_regions_needed)

        # The map may have changed since region_chg, and more entries be needed than it asked for.
        if actual_regions_needed[
            0
        ] > in_regions_needed and resv.region_cache_count < resv.adds_in_progress + (
            actual_regions_needed[0] - in_regions_needed
        ):
            bug_on(t - f <= 1, "t - f <= 1")

            if allocate_file_region_entries(resv, actual_regions_needed[0] - in_regions_needed):
                return -ENOMEM

            continue
        break

    add = add_reservation_in_range(resv, f, t, h_cg, h, None)

    resv.adds_in_progress -= in_regions_needed

    spin_unlock(resv.lock)
    return add


@ported("mm/hugetlb.c", "region_chg")
def region_chg(resv: ResvMap, f: int, t: int, out_regions_needed: list[int]) -> int:
    """Begin an addition of [f, t): at least one entry is put into the cache for it.

    Returns the number of pages not in the map, or -ENOMEM; ``out_regions_needed`` gets the number
    of regions that the addition may use.
    """
    spin_lock(resv.lock)

    chg = add_reservation_in_range(resv, f, t, None, None, out_regions_needed)

    if out_regions_needed[0] == 0:
        out_regions_needed[0] = 1

    if allocate_file_region_entries(resv, out_regions_needed[0]):
        return -ENOMEM

    resv.adds_in_progress += out_regions_needed[0]

    spin_unlock(resv.lock)
    return chg


@ported("mm/hugetlb.c", "region_abort")
def region_abort(resv: ResvMap, f: int, t: int, regions_needed: int) -> None:
    """Give up the addition that region_chg began; the range is not needed."""
    spin_lock(resv.lock)
    bug_on(not resv.region_cache_count, "!resv->region_cache_count")
    resv.adds_in_progress -= regions_needed
    spin_unlock(resv.lock)


@ported("mm/hugetlb.c", "region_del")
def region_del(resv: ResvMap, f: int, t: int) -> int:
    """Delete [f, t) from the map; ``t`` of LONG_MAX means all from ``f`` on.

    Returns the number of pages deleted, or -ENOMEM when a region must be split and there is no
    entry for its second half; with LONG_MAX that never happens.
    """
    head = resv.regions
    nrg: FileRegion | None = None
    del_ = 0

    while True:
        retry = False
        spin_lock(resv.lock)
        for rg in list_entries(head):
            # An empty region at the very beginning of the range goes too.
            if rg.to <= f and (rg.to != rg.from_ or rg.to != f):
                continue

            if rg.from_ >= t:
                break

            if f > rg.from_ and t < rg.to:
                # Must split. Take an entry that no addition in progress counts on.
                if nrg is None and resv.region_cache_count > resv.adds_in_progress:
                    nrg = list_first_entry(resv.region_cache)
                    list_del(nrg.link)
                    resv.region_cache_count -= 1

                if nrg is None:
                    spin_unlock(resv.lock)
                    if inject("kmalloc_region"):
                        return -ENOMEM
                    nrg = FileRegion()
                    retry = True
                    break

                del_ += t - f
                hugetlb_cgroup_uncharge_file_region(resv, rg, t - f, False)

                nrg.from_ = t
                nrg.to = rg.to

                copy_hugetlb_cgroup_uncharge_info(nrg, rg)

                rg.to = f

                list_add(nrg.link, rg.link)
                nrg = None
                break

            if f <= rg.from_ and t >= rg.to:
                del_ += rg.to - rg.from_
                hugetlb_cgroup_uncharge_file_region(resv, rg, rg.to - rg.from_, True)
                list_del(rg.link)
                continue

            if f <= rg.from_:
                hugetlb_cgroup_uncharge_file_region(resv, rg, t - rg.from_, False)

                del_ += t - rg.from_
                rg.from_ = t
            else:
                hugetlb_cgroup_uncharge_file_region(resv, rg, rg.to - f, False)

                del_ += rg.to - f
                rg.to = f
        if not retry:
            break

    spin_unlock(resv.lock)
    return del_


@ported("mm/hugetlb.c", "region_count")
def region_count(resv: ResvMap, f: int, t: int) -> int:
    """The number of pages of [f, t) that are in the map."""
    chg = 0

    spin_lock(resv.lock)
    for rg in list_entries(resv.regions):
        if rg.to <= f:
            continue
        if rg.from_ >= t:
            break

        seg_from = max(rg.from_, f)
        seg_to = min(rg.to, t)

        chg += seg_to - seg_from
    spin_unlock(resv.lock)

    return chg
