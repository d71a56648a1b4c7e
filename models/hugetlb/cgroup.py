"""mm/hugetlb_cgroup.c: limits on huge pages in use and on huge pages reserved, for each cgroup.

Counters are in base pages, control files in bytes. cgroup version 1 is not modelled, so its files
and its resets are left out. ``struct hugetlb_cgroup **`` arguments are returned in a tuple.
Failure points: ``charge_hugetlb``, ``charge_hugetlb_rsvd``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from models.hugetlb.inline import folio_hstate, hstate_index
from models.hugetlb.structs import (
    MAX_NUMNODES,
    HugetlbCgroup,
    huge_page_size,
    pages_per_huge_page,
)
from models.kernel.errno import EINVAL, ENOENT, ENOMEM
from models.kernel.lists import list_entries, list_move
from models.kernel.locks import (
    Lock,
    lockdep_assert_held,
    mutex_lock,
    mutex_unlock,
    spin_lock_irq,
    spin_unlock_irq,
)
from models.kernel.machine import ULONG_MAX, KernelHang, bug_on, effect, inject, warn_on_once
from models.kernel.nodes import N_MEMORY, node_isset
from models.kernel.page_counter import (
    PAGE_COUNTER_MAX,
    CgroupSubsysState,
    PageCounter,
    page_counter_cancel,
    page_counter_charge,
    page_counter_memparse,
    page_counter_read,
    page_counter_set_max,
    page_counter_try_charge,
    page_counter_uncharge,
)
from models.kernel.port import ported, static_data
from models.kernel.structs import PAGE_SIZE

if TYPE_CHECKING:
    from models.hugetlb.hstate import hstates, hugetlb_lock
    from models.hugetlb.structs import FileRegion, HState, ResvMap
    from models.kernel.cgroup import (
        cgroup_root,
        cgroup_walk,
        css_get,
        css_put,
        css_tryget,
        task_cgroup,
    )
    from models.kernel.machine import machine
    from models.kernel.nodes import node_states
    from models.kernel.structs import Folio
    from models.kernel.task import Task

RES_USAGE: Final = 0
RES_RSVD_USAGE: Final = 1
RES_LIMIT: Final = 2
RES_RSVD_LIMIT: Final = 3

#: Control files of cgroup2 that hold a number: name after the size, and what it is of.
NUMBER_FILES: Final = {
    "max": RES_LIMIT,
    "rsvd.max": RES_RSVD_LIMIT,
    "current": RES_USAGE,
    "rsvd.current": RES_RSVD_USAGE,
}

root_h_cgroup: HugetlbCgroup | None
hugetlb_limit_mutex: Lock


@static_data
def hugetlb_cgroup_data() -> None:
    """No cgroup yet: the controller is disabled until the root is made."""
    global root_h_cgroup, hugetlb_limit_mutex
    root_h_cgroup = None
    hugetlb_limit_mutex = Lock("hugetlb_limit_mutex")


# ---- include/linux/hugetlb_cgroup.h ----


@ported("include/linux/hugetlb_cgroup.h", "__hugetlb_cgroup_from_folio")
def _hugetlb_cgroup_from_folio(folio: Folio, rsvd: bool) -> HugetlbCgroup | None:
    """Which cgroup a folio, or its reservation, is charged to."""
    bug_on(not folio.hugetlb, "!folio_test_hugetlb(folio)")
    if rsvd:
        return folio._hugetlb_cgroup_rsvd
    return folio._hugetlb_cgroup


@ported("include/linux/hugetlb_cgroup.h", "hugetlb_cgroup_from_folio")
def hugetlb_cgroup_from_folio(folio: Folio) -> HugetlbCgroup | None:
    """Which cgroup a folio is charged to."""
    return _hugetlb_cgroup_from_folio(folio, False)


@ported("include/linux/hugetlb_cgroup.h", "hugetlb_cgroup_from_folio_rsvd")
def hugetlb_cgroup_from_folio_rsvd(folio: Folio) -> HugetlbCgroup | None:
    """Which cgroup a folio's reservation is charged to."""
    return _hugetlb_cgroup_from_folio(folio, True)


@ported("include/linux/hugetlb_cgroup.h", "__set_hugetlb_cgroup")
def _set_hugetlb_cgroup(folio: Folio, h_cg: HugetlbCgroup | None, rsvd: bool) -> None:
    """Note which cgroup a folio, or its reservation, is charged to."""
    bug_on(not folio.hugetlb, "!folio_test_hugetlb(folio)")
    if rsvd:
        folio._hugetlb_cgroup_rsvd = h_cg
    else:
        folio._hugetlb_cgroup = h_cg


@ported("include/linux/hugetlb_cgroup.h", "set_hugetlb_cgroup")
def set_hugetlb_cgroup(folio: Folio, h_cg: HugetlbCgroup | None) -> None:
    """Note which cgroup a folio is charged to."""
    _set_hugetlb_cgroup(folio, h_cg, False)


@ported("include/linux/hugetlb_cgroup.h", "set_hugetlb_cgroup_rsvd")
def set_hugetlb_cgroup_rsvd(folio: Folio, h_cg: HugetlbCgroup | None) -> None:
    """Note which cgroup a folio's reservation is charged to."""
    _set_hugetlb_cgroup(folio, h_cg, True)


@ported("include/linux/hugetlb_cgroup.h", "hugetlb_cgroup_disabled")
def hugetlb_cgroup_disabled() -> bool:
    """Whether the world has no hugetlb controller; then there is no root cgroup of it either."""
    return root_h_cgroup is None


@ported("include/linux/hugetlb_cgroup.h", "hugetlb_cgroup_put_rsvd_cgroup")
def hugetlb_cgroup_put_rsvd_cgroup(h_cg: HugetlbCgroup) -> None:
    """Drop the reference that a charge of a reservation took."""
    css_put(h_cg.css)


@ported("include/linux/hugetlb_cgroup.h", "resv_map_dup_hugetlb_cgroup_uncharge_info")
def resv_map_dup_hugetlb_cgroup_uncharge_info(resv_map: ResvMap) -> None:
    """One more vma shares a private mapping's map: one more reference to its cgroup."""
    if resv_map.css is not None:
        css_get(resv_map.css)


@ported("include/linux/hugetlb_cgroup.h", "resv_map_put_hugetlb_cgroup_uncharge_info")
def resv_map_put_hugetlb_cgroup_uncharge_info(resv_map: ResvMap) -> None:
    """One vma less shares a private mapping's map: one reference less to its cgroup."""
    if resv_map.css is not None:
        css_put(resv_map.css)


# ---- mm/hugetlb_cgroup.c ----


@ported("mm/hugetlb_cgroup.c", "__hugetlb_cgroup_counter_from_cgroup")
def _hugetlb_cgroup_counter_from_cgroup(h_cg: HugetlbCgroup, idx: int, rsvd: bool) -> PageCounter:
    """The counter of reservations or of use."""
    if rsvd:
        return h_cg.rsvd_hugepage[idx]
    return h_cg.hugepage[idx]


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_counter_from_cgroup")
def hugetlb_cgroup_counter_from_cgroup(h_cg: HugetlbCgroup, idx: int) -> PageCounter:
    """The counter of use."""
    return _hugetlb_cgroup_counter_from_cgroup(h_cg, idx, False)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_counter_from_cgroup_rsvd")
def hugetlb_cgroup_counter_from_cgroup_rsvd(h_cg: HugetlbCgroup, idx: int) -> PageCounter:
    """The counter of reservations."""
    return _hugetlb_cgroup_counter_from_cgroup(h_cg, idx, True)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_from_css")
def hugetlb_cgroup_from_css(s: CgroupSubsysState | None) -> HugetlbCgroup | None:
    """The hugetlb cgroup around a css."""
    return s.cgroup if s is not None else None


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_from_task")
def hugetlb_cgroup_from_task(task: Task | None) -> HugetlbCgroup:
    """The hugetlb cgroup of a process."""
    return cast("HugetlbCgroup", hugetlb_cgroup_from_css(task_cgroup(task).hugetlb))


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_is_root")
def hugetlb_cgroup_is_root(h_cg: HugetlbCgroup) -> bool:
    """Whether it is the root, which has no limits and no files."""
    return h_cg is root_h_cgroup


@ported("mm/hugetlb_cgroup.c", "parent_hugetlb_cgroup")
def parent_hugetlb_cgroup(h_cg: HugetlbCgroup) -> HugetlbCgroup | None:
    """The hugetlb cgroup above, or None."""
    return hugetlb_cgroup_from_css(h_cg.css.parent)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_have_usage")
def hugetlb_cgroup_have_usage(h_cg: HugetlbCgroup) -> bool:
    """Whether a page in use of any size is charged to it."""
    for h in hstates:
        if page_counter_read(hugetlb_cgroup_counter_from_cgroup(h_cg, hstate_index(h))):
            return True
    return False


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_init")
def hugetlb_cgroup_init(h_cgroup: HugetlbCgroup, parent_h_cgroup: HugetlbCgroup | None) -> None:
    """Counters below the parent's, limited only by what a counter can hold of whole huge pages."""
    for h in hstates:
        idx = hstate_index(h)
        fault_parent: PageCounter | None = None
        rsvd_parent: PageCounter | None = None

        if parent_h_cgroup is not None:
            fault_parent = hugetlb_cgroup_counter_from_cgroup(parent_h_cgroup, idx)
            rsvd_parent = hugetlb_cgroup_counter_from_cgroup_rsvd(parent_h_cgroup, idx)
        h_cgroup.hugepage.append(PageCounter(fault_parent))
        h_cgroup.rsvd_hugepage.append(PageCounter(rsvd_parent))

        limit = PAGE_COUNTER_MAX & ~(pages_per_huge_page(h) - 1)

        ret = page_counter_set_max(hugetlb_cgroup_counter_from_cgroup(h_cgroup, idx), limit)
        bug_on(ret, "page_counter_set_max")
        ret = page_counter_set_max(hugetlb_cgroup_counter_from_cgroup_rsvd(h_cgroup, idx), limit)
        bug_on(ret, "page_counter_set_max")


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_css_alloc")
def hugetlb_cgroup_css_alloc(parent_css: CgroupSubsysState | None) -> CgroupSubsysState:
    """The hugetlb state of a new cgroup."""
    global root_h_cgroup
    parent_h_cgroup = hugetlb_cgroup_from_css(parent_css)
    css = CgroupSubsysState("hugetlb", parent_css)
    h_cgroup = HugetlbCgroup(css, parent_h_cgroup)
    css.cgroup = h_cgroup

    if parent_h_cgroup is None:
        root_h_cgroup = h_cgroup

    hugetlb_cgroup_init(h_cgroup, parent_h_cgroup)
    return css


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_css_free")
def hugetlb_cgroup_css_free(css: CgroupSubsysState) -> None:
    """The last reference is gone."""
    effect("hugetlb_cgroup_css_free")


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_move_usage")
def hugetlb_cgroup_move_usage(
    from_: HugetlbCgroup | None, to: HugetlbCgroup | None, from_folio: Folio, to_folio: Folio
) -> None:
    """Move one folio's base pages from one cgroup and node's usage to another's."""
    idx = hstate_index(folio_hstate(from_folio))
    nr_pages = 1 << from_folio.order
    from_nid = from_folio.nid
    to_nid = to_folio.nid

    lockdep_assert_held(hugetlb_lock)

    if from_ is None or to is None:
        return

    if from_ is to and from_nid == to_nid:
        return

    usage = from_.nodeinfo[from_nid][idx]
    if warn_on_once(usage < nr_pages, "usage < nr_pages"):
        return
    from_.nodeinfo[from_nid][idx] = usage - nr_pages

    usage = to.nodeinfo[to_nid][idx]
    to.nodeinfo[to_nid][idx] = usage + nr_pages


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_move_parent")
def hugetlb_cgroup_move_parent(idx: int, h_cg: HugetlbCgroup, folio: Folio) -> None:
    """Charge a folio to the parent instead, if it is charged to this cgroup."""
    parent = parent_hugetlb_cgroup(h_cg)

    page_hcg = hugetlb_cgroup_from_folio(folio)
    if page_hcg is None or page_hcg is not h_cg:
        return

    nr_pages = 1 << folio.order
    if parent is None:
        parent = cast("HugetlbCgroup", root_h_cgroup)
        page_counter_charge(parent.hugepage[idx], nr_pages)
    counter = h_cg.hugepage[idx]
    # The ancestors have it already.
    page_counter_cancel(counter, nr_pages)

    hugetlb_cgroup_move_usage(h_cg, parent, folio, folio)

    set_hugetlb_cgroup(folio, parent)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_css_offline")
def hugetlb_cgroup_css_offline(css: CgroupSubsysState) -> None:
    """Move what is in use to the parent; reservations stay and keep the css.

    Raises:
        KernelHang: use is charged that no folio on an active list accounts for; the kernel's loop
            would never end.
    """
    h_cg = cast("HugetlbCgroup", hugetlb_cgroup_from_css(css))

    while True:
        moved = False
        for h in hstates:
            spin_lock_irq(hugetlb_lock)
            for folio in list_entries(h.hugepage_activelist):
                moved = moved or hugetlb_cgroup_from_folio(folio) is h_cg
                hugetlb_cgroup_move_parent(hstate_index(h), h_cg, folio)

            spin_unlock_irq(hugetlb_lock)
        if not hugetlb_cgroup_have_usage(h_cg):
            break
        if not moved and machine.lock_hook is None:
            msg = "hugetlb_cgroup_css_offline: usage that no folio accounts for"
            raise KernelHang(msg)


@ported("mm/hugetlb_cgroup.c", "hugetlb_event")
def hugetlb_event(hugetlb: HugetlbCgroup, idx: int) -> None:
    """Count one HUGETLB_MAX event, in the cgroup itself and up to below the root."""
    hugetlb.events_local[idx] += 1

    while True:
        hugetlb.events[idx] += 1
        parent = parent_hugetlb_cgroup(hugetlb)
        if parent is None or hugetlb_cgroup_is_root(parent):
            break
        hugetlb = parent


@ported("mm/hugetlb_cgroup.c", "__hugetlb_cgroup_charge_cgroup")
def _hugetlb_cgroup_charge_cgroup(
    idx: int, nr_pages: int, rsvd: bool
) -> tuple[int, HugetlbCgroup | None]:
    """Charge base pages to the running process's cgroup.

    Returns 0 or -ENOMEM, and what goes to ``*ptr``: the cgroup also when the charge failed. A
    charge of a reservation holds a reference to it.
    """
    ret = 0

    if hugetlb_cgroup_disabled():
        return ret, None
    while True:
        h_cg = hugetlb_cgroup_from_task(machine.current)
        if css_tryget(h_cg.css):
            break

    failed = inject("charge_hugetlb_rsvd" if rsvd else "charge_hugetlb")
    if (
        failed
        or page_counter_try_charge(_hugetlb_cgroup_counter_from_cgroup(h_cg, idx, rsvd), nr_pages)
        is not None
    ):
        ret = -ENOMEM
        hugetlb_event(h_cg, idx)
        css_put(h_cg.css)
    elif not rsvd:
        # Reservations keep their css, as they do not move to the parent.
        css_put(h_cg.css)
    if machine.effects is not None:
        effect(f"hugetlb_cgroup_charge hstate {idx} rsvd {rsvd:d} pages {nr_pages}: {ret}")
    return ret, h_cg


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_charge_cgroup")
def hugetlb_cgroup_charge_cgroup(idx: int, nr_pages: int) -> tuple[int, HugetlbCgroup | None]:
    """Charge base pages in use; returns 0 or -ENOMEM, and ``*ptr``."""
    return _hugetlb_cgroup_charge_cgroup(idx, nr_pages, False)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_charge_cgroup_rsvd")
def hugetlb_cgroup_charge_cgroup_rsvd(idx: int, nr_pages: int) -> tuple[int, HugetlbCgroup | None]:
    """Charge reserved base pages; returns 0 or -ENOMEM, and ``*ptr``."""
    return _hugetlb_cgroup_charge_cgroup(idx, nr_pages, True)


@ported("mm/hugetlb_cgroup.c", "__hugetlb_cgroup_commit_charge")
def _hugetlb_cgroup_commit_charge(
    idx: int, nr_pages: int, h_cg: HugetlbCgroup | None, folio: Folio, rsvd: bool
) -> None:
    """Note a charge of base pages in the folio it was made for."""
    if hugetlb_cgroup_disabled() or h_cg is None:
        return
    lockdep_assert_held(hugetlb_lock)
    _set_hugetlb_cgroup(folio, h_cg, rsvd)
    if not rsvd:
        usage = h_cg.nodeinfo[folio.nid]
        usage[idx] += nr_pages


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_commit_charge")
def hugetlb_cgroup_commit_charge(
    idx: int, nr_pages: int, h_cg: HugetlbCgroup | None, folio: Folio
) -> None:
    """Note a charge of base pages in use in its folio."""
    _hugetlb_cgroup_commit_charge(idx, nr_pages, h_cg, folio, False)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_commit_charge_rsvd")
def hugetlb_cgroup_commit_charge_rsvd(
    idx: int, nr_pages: int, h_cg: HugetlbCgroup | None, folio: Folio
) -> None:
    """Note a charge of reserved base pages in its folio."""
    _hugetlb_cgroup_commit_charge(idx, nr_pages, h_cg, folio, True)


@ported("mm/hugetlb_cgroup.c", "__hugetlb_cgroup_uncharge_folio")
def _hugetlb_cgroup_uncharge_folio(idx: int, nr_pages: int, folio: Folio, rsvd: bool) -> None:
    """Take back what a folio, or its reservation, is charged to a cgroup, in base pages."""
    if hugetlb_cgroup_disabled():
        return
    lockdep_assert_held(hugetlb_lock)
    h_cg = _hugetlb_cgroup_from_folio(folio, rsvd)
    if h_cg is None:
        return
    _set_hugetlb_cgroup(folio, None, rsvd)

    page_counter_uncharge(_hugetlb_cgroup_counter_from_cgroup(h_cg, idx, rsvd), nr_pages)
    if machine.effects is not None:
        effect(f"hugetlb_cgroup_uncharge hstate {idx} rsvd {rsvd:d} pages {nr_pages}")

    if rsvd:
        css_put(h_cg.css)
    else:
        usage = h_cg.nodeinfo[folio.nid]
        usage[idx] = (usage[idx] - nr_pages) & ULONG_MAX


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_uncharge_folio")
def hugetlb_cgroup_uncharge_folio(idx: int, nr_pages: int, folio: Folio) -> None:
    """Take back a folio's charge, in base pages."""
    _hugetlb_cgroup_uncharge_folio(idx, nr_pages, folio, False)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_uncharge_folio_rsvd")
def hugetlb_cgroup_uncharge_folio_rsvd(idx: int, nr_pages: int, folio: Folio) -> None:
    """Take back the charge of a folio's reservation, in base pages."""
    _hugetlb_cgroup_uncharge_folio(idx, nr_pages, folio, True)


@ported("mm/hugetlb_cgroup.c", "__hugetlb_cgroup_uncharge_cgroup")
def _hugetlb_cgroup_uncharge_cgroup(
    idx: int, nr_pages: int, h_cg: HugetlbCgroup | None, rsvd: bool
) -> None:
    """Take back a charge of base pages that no folio has noted."""
    if hugetlb_cgroup_disabled() or h_cg is None:
        return

    page_counter_uncharge(_hugetlb_cgroup_counter_from_cgroup(h_cg, idx, rsvd), nr_pages)
    if machine.effects is not None:
        effect(f"hugetlb_cgroup_uncharge hstate {idx} rsvd {rsvd:d} pages {nr_pages}")

    if rsvd:
        css_put(h_cg.css)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_uncharge_cgroup")
def hugetlb_cgroup_uncharge_cgroup(idx: int, nr_pages: int, h_cg: HugetlbCgroup | None) -> None:
    """Take back a charge of base pages in use that no folio has noted."""
    _hugetlb_cgroup_uncharge_cgroup(idx, nr_pages, h_cg, False)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_uncharge_cgroup_rsvd")
def hugetlb_cgroup_uncharge_cgroup_rsvd(
    idx: int, nr_pages: int, h_cg: HugetlbCgroup | None
) -> None:
    """Take back a charge of reserved base pages that no folio has noted."""
    _hugetlb_cgroup_uncharge_cgroup(idx, nr_pages, h_cg, True)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_uncharge_counter")
def hugetlb_cgroup_uncharge_counter(resv: ResvMap | None, start: int, end: int) -> None:
    """A private vma of huge pages start to end goes: take back its share of the reservation."""
    if (
        hugetlb_cgroup_disabled()
        or resv is None
        or resv.reservation_counter is None
        or resv.css is None
    ):
        return

    page_counter_uncharge(resv.reservation_counter, (end - start) * resv.pages_per_hpage)
    if machine.effects is not None:
        effect(f"hugetlb_cgroup_uncharge_counter huge pages {end - start}")
    css_put(resv.css)


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_uncharge_file_region")
def hugetlb_cgroup_uncharge_file_region(
    resv: ResvMap | None, rg: FileRegion | None, nr_pages: int, region_del: bool
) -> None:
    """Take back what ``nr_pages`` (huge pages) of a shared map's region were charged."""
    if hugetlb_cgroup_disabled() or resv is None or rg is None or not nr_pages:
        return

    if (
        rg.reservation_counter is not None
        and resv.pages_per_hpage
        and resv.reservation_counter is None
    ):
        page_counter_uncharge(rg.reservation_counter, nr_pages * resv.pages_per_hpage)
        if machine.effects is not None:
            effect(f"hugetlb_cgroup_uncharge_file_region huge pages {nr_pages}")
        # A region holds one reference, whatever its size.
        if region_del:
            css_put(cast("CgroupSubsysState", rg.css))


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_read_numa_stat")
def hugetlb_cgroup_read_numa_stat(css: CgroupSubsysState, idx: int) -> str:
    """The text of numa_stat: bytes in use in total, and on each node, descendants included."""
    h_cg = cast("HugetlbCgroup", hugetlb_cgroup_from_css(css))
    text = f"total={page_counter_read(h_cg.hugepage[idx]) * PAGE_SIZE}"
    for nid in range(MAX_NUMNODES):
        if not node_isset(nid, node_states[N_MEMORY]):
            continue
        usage = 0
        for cgrp in cgroup_walk(cgroup_root):
            below = cgrp.hugetlb
            while below is not None and below is not css:
                below = below.parent
            if below is not None:
                usage += cast("HugetlbCgroup", hugetlb_cgroup_from_css(cgrp.hugetlb)).nodeinfo[nid][
                    idx
                ]
        text += f" N{nid}={usage * PAGE_SIZE}"
    return text + "\n"


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_read_u64_max")
def hugetlb_cgroup_read_u64_max(css: CgroupSubsysState, idx: int, attr: int) -> str:
    """The text of a file that holds a number: bytes, or ``max``."""
    h_cg = cast("HugetlbCgroup", hugetlb_cgroup_from_css(css))
    counter = h_cg.hugepage[idx]

    limit = PAGE_COUNTER_MAX & ~(pages_per_huge_page(hstates[idx]) - 1)

    if attr in (RES_RSVD_USAGE, RES_USAGE):
        if attr == RES_RSVD_USAGE:
            counter = h_cg.rsvd_hugepage[idx]
        return f"{page_counter_read(counter) * PAGE_SIZE}\n"
    if attr == RES_RSVD_LIMIT:
        counter = h_cg.rsvd_hugepage[idx]
    val = counter.max
    if val == limit:
        return "max\n"
    return f"{val * PAGE_SIZE}\n"


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_write")
def hugetlb_cgroup_write(css: CgroupSubsysState, idx: int, attr: int, buf: str, max: str) -> int:
    """Set a limit from a text in bytes, rounded down to whole huge pages.

    0, -EINVAL for a text that is no number, the root, or a file that is no limit; -EBUSY below
    what is charged.
    """
    h_cg = cast("HugetlbCgroup", hugetlb_cgroup_from_css(css))
    rsvd = False

    if hugetlb_cgroup_is_root(h_cg):
        return -EINVAL

    buf = buf.strip()
    nr_pages = page_counter_memparse(buf, max)
    if nr_pages < 0:
        return nr_pages

    nr_pages &= ~(pages_per_huge_page(hstates[idx]) - 1)

    if attr in (RES_RSVD_LIMIT, RES_LIMIT):
        if attr == RES_RSVD_LIMIT:
            rsvd = True
        mutex_lock(hugetlb_limit_mutex)
        ret = page_counter_set_max(_hugetlb_cgroup_counter_from_cgroup(h_cg, idx, rsvd), nr_pages)
        mutex_unlock(hugetlb_limit_mutex)
    else:
        ret = -EINVAL
    return ret


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_write_dfl")
def hugetlb_cgroup_write_dfl(css: CgroupSubsysState, idx: int, attr: int, buf: str) -> int:
    """Set a limit through a file of cgroup2, where no limit is written ``max``."""
    return hugetlb_cgroup_write(css, idx, attr, buf, "max")


@ported("mm/hugetlb_cgroup.c", "mem_fmt")
def mem_fmt(hsize: int) -> str:
    """A size in bytes as the control files' names have it."""
    if hsize >= 1 << 30:
        return f"{hsize >> 30}GB"
    if hsize >= 1 << 20:
        return f"{hsize >> 20}MB"
    return f"{hsize >> 10}KB"


@ported("mm/hugetlb_cgroup.c", "__hugetlb_events_show")
def _hugetlb_events_show(css: CgroupSubsysState, idx: int, local: bool) -> str:
    """The text of events or events.local: how often a charge met a limit."""
    h_cg = cast("HugetlbCgroup", hugetlb_cgroup_from_css(css))
    if local:
        max = h_cg.events_local[idx]
    else:
        max = h_cg.events[idx]

    return f"max {max}\n"


@ported("mm/hugetlb_cgroup.c", "hugetlb_events_show")
def hugetlb_events_show(css: CgroupSubsysState, idx: int) -> str:
    """The text of events: limits met in the cgroup and below."""
    return _hugetlb_events_show(css, idx, False)


@ported("mm/hugetlb_cgroup.c", "hugetlb_events_local_show")
def hugetlb_events_local_show(css: CgroupSubsysState, idx: int) -> str:
    """The text of events.local: limits met in the cgroup itself."""
    return _hugetlb_events_show(css, idx, True)


def hugetlb_file_hstate(name: str) -> tuple[HState | None, str]:
    """Split a file's name after ``hugetlb.`` into the hstate of its size and the rest."""
    size, _, rest = name.partition(".")
    for h in hstates:
        if mem_fmt(huge_page_size(h)) == size:
            return h, rest
    return None, rest


def hugetlb_file_write(css: CgroupSubsysState, name: str, buf: str) -> int:
    """Write to the file ``hugetlb.<name>``: 0, or -ENOENT, -EINVAL (also: read only), -EBUSY."""
    h, rest = hugetlb_file_hstate(name)
    if h is None:
        return -ENOENT
    if rest in ("max", "rsvd.max"):
        return hugetlb_cgroup_write_dfl(css, hstate_index(h), NUMBER_FILES[rest], buf)
    if rest in NUMBER_FILES or rest in ("events", "events.local", "numa_stat"):
        return -EINVAL
    return -ENOENT


def hugetlb_file_read(css: CgroupSubsysState, name: str) -> str | int:
    """The text of the file ``hugetlb.<name>``, or -ENOENT."""
    h, rest = hugetlb_file_hstate(name)
    if h is None:
        return -ENOENT
    idx = hstate_index(h)
    if rest in NUMBER_FILES:
        return hugetlb_cgroup_read_u64_max(css, idx, NUMBER_FILES[rest])
    if rest == "events":
        return hugetlb_events_show(css, idx)
    if rest == "events.local":
        return hugetlb_events_local_show(css, idx)
    if rest == "numa_stat":
        return hugetlb_cgroup_read_numa_stat(css, idx)
    return -ENOENT


@ported("mm/hugetlb_cgroup.c", "hugetlb_cgroup_migrate")
def hugetlb_cgroup_migrate(old_folio: Folio, new_folio: Folio) -> None:
    """The new folio takes over what the old one is charged to, and goes to the active list."""
    h = folio_hstate(old_folio)

    if hugetlb_cgroup_disabled():
        return

    spin_lock_irq(hugetlb_lock)
    h_cg = hugetlb_cgroup_from_folio(old_folio)
    h_cg_rsvd = hugetlb_cgroup_from_folio_rsvd(old_folio)
    set_hugetlb_cgroup(old_folio, None)
    set_hugetlb_cgroup_rsvd(old_folio, None)

    set_hugetlb_cgroup(new_folio, h_cg)
    set_hugetlb_cgroup_rsvd(new_folio, h_cg_rsvd)

    hugetlb_cgroup_move_usage(h_cg, h_cg, old_folio, new_folio)

    list_move(new_folio.lru, h.hugepage_activelist)
    spin_unlock_irq(hugetlb_lock)
