# Fidelity: CUSTOM
"""The memory controller as far as it charges huge pages (mm/memcontrol.c), in base pages.

It does so only when cgroup2 is mounted with ``memory_hugetlb_accounting``. Nothing else that
processes use is charged, so that reclaim finds nothing. Failure point: ``charge_memcg``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from models.kernel.errno import EINVAL, ENOENT, ENOMEM, EOPNOTSUPP
from models.kernel.gfp import _GFP_NORETRY, _GFP_RETRY_MAYFAIL
from models.kernel.machine import Unmodelled, bug_on, effect, inject
from models.kernel.page_counter import (
    PAGE_COUNTER_MAX,
    CgroupSubsysState,
    PageCounter,
    page_counter_memparse,
    page_counter_read,
    page_counter_try_charge,
    page_counter_uncharge,
)
from models.kernel.port import ported, static_data
from models.kernel.structs import PAGE_SIZE

if TYPE_CHECKING:
    from models.kernel.cgroup import css_get, css_put, css_tryget, task_cgroup
    from models.kernel.machine import machine
    from models.kernel.structs import Folio

MAX_RECLAIM_RETRIES: Final = 16


class MemCgroup:
    """struct mem_cgroup: base pages charged, and how often a charge met a limit."""

    __slots__ = ("css", "events_max", "events_max_local", "memory", "parent")

    def __init__(self, css: CgroupSubsysState, parent: MemCgroup | None) -> None:
        self.css = css
        self.parent = parent
        self.memory: PageCounter = PageCounter(parent.memory if parent is not None else None)
        self.events_max = 0
        self.events_max_local = 0


root_mem_cgroup: MemCgroup | None
memory_hugetlb_accounting: bool


@static_data
def memcg_data() -> None:
    """No cgroup yet: the controller is disabled until the root is made."""
    global root_mem_cgroup, memory_hugetlb_accounting
    root_mem_cgroup = None
    memory_hugetlb_accounting = False


def memory_accounting_init(accounting: bool) -> None:
    """Mount cgroup2 with or without ``memory_hugetlb_accounting``."""
    global memory_hugetlb_accounting
    memory_hugetlb_accounting = accounting


@ported("mm/memcontrol.c", "mem_cgroup_css_alloc")
def mem_cgroup_css_alloc(parent_css: CgroupSubsysState | None) -> CgroupSubsysState:
    """The memory state of a new cgroup."""
    global root_mem_cgroup
    css = CgroupSubsysState("memory", parent_css)
    memcg = MemCgroup(css, parent_css.cgroup if parent_css is not None else None)
    css.cgroup = memcg
    if parent_css is None:
        root_mem_cgroup = memcg
    return css


@ported("include/linux/memcontrol.h", "mem_cgroup_disabled")
def mem_cgroup_disabled() -> bool:
    """Whether the world has no memory controller; then there is no root cgroup of it either."""
    return root_mem_cgroup is None


@ported("include/linux/memcontrol.h", "mem_cgroup_is_root")
def mem_cgroup_is_root(memcg: MemCgroup) -> bool:
    """Whether it is the root, which is not charged."""
    return memcg is root_mem_cgroup


@ported("mm/memcontrol.c", "get_mem_cgroup_from_current")
def get_mem_cgroup_from_current() -> MemCgroup | None:
    """The running process's memory cgroup with a reference, or None without the controller."""
    if mem_cgroup_disabled():
        return None

    while True:
        memcg = cast(
            "MemCgroup", cast("CgroupSubsysState", task_cgroup(machine.current).memory).cgroup
        )
        if css_tryget(memcg.css):
            return memcg


@ported("include/linux/memcontrol.h", "mem_cgroup_put")
def mem_cgroup_put(memcg: MemCgroup | None) -> None:
    """Drop a reference."""
    if memcg is not None:
        css_put(memcg.css)


@ported("include/linux/memcontrol.h", "memcg_memory_event")
def memcg_memory_event(memcg: MemCgroup) -> None:
    """Count one MEMCG_MAX event, in the cgroup itself and up to below the root."""
    memcg.events_max_local += 1
    over: MemCgroup | None = memcg
    while over is not None and not mem_cgroup_is_root(over):
        over.events_max += 1
        over = over.parent


@ported("mm/memcontrol.c", "mem_cgroup_margin")
def mem_cgroup_margin(memcg: MemCgroup) -> int:
    """Base pages that can still be charged."""
    margin = 0
    count = page_counter_read(memcg.memory)
    limit = memcg.memory.max
    if count < limit:
        margin = limit - count
    return margin


@ported("mm/memcontrol.c", "try_charge_memcg")
def try_charge_memcg(memcg: MemCgroup, gfp_mask: int, nr_pages: int) -> int:
    """Charge base pages: 0 or -ENOMEM.

    A huge page is larger than a batch, so no stock is kept of it; nor does HugeTLB ask for a charge
    that cannot fail. Every attempt counts an event.

    Raises:
        Unmodelled: the charge may not fail, so that the OOM killer would choose a process.
    """
    nr_retries = MAX_RECLAIM_RETRIES
    drained = False

    while True:
        counter = page_counter_try_charge(memcg.memory, nr_pages)
        if counter is None:
            return 0
        mem_over_limit = memcg
        while mem_over_limit.memory is not counter:
            mem_over_limit = cast("MemCgroup", mem_over_limit.parent)

        memcg_memory_event(mem_over_limit)

        # Reclaim finds nothing: huge pages are on no LRU list.
        if mem_cgroup_margin(mem_over_limit) >= nr_pages:
            continue

        if not drained:
            drained = True
            continue

        if gfp_mask & _GFP_NORETRY:
            return -ENOMEM

        nr_retries -= 1
        if nr_retries >= 0:
            continue

        if gfp_mask & _GFP_RETRY_MAYFAIL:
            return -ENOMEM

        msg = "mem_cgroup_oom"
        raise Unmodelled(msg)


@ported("mm/memcontrol.c", "try_charge")
def try_charge(memcg: MemCgroup, gfp_mask: int, nr_pages: int) -> int:
    """Charge base pages unless it is the root: 0 or -ENOMEM."""
    if mem_cgroup_is_root(memcg):
        return 0

    return try_charge_memcg(memcg, gfp_mask, nr_pages)


@ported("mm/memcontrol.c", "mem_cgroup_hugetlb_try_charge")
def mem_cgroup_hugetlb_try_charge(memcg: MemCgroup | None, gfp: int, nr_pages: int) -> int:
    """Charge the base pages of a huge page that is about to be allocated.

    0, -ENOMEM, or -EOPNOTSUPP where huge pages are not charged, which is no failure.
    """
    if mem_cgroup_disabled() or memcg is None or not memory_hugetlb_accounting:
        return -EOPNOTSUPP

    ret = 0
    if inject("charge_memcg") or try_charge(memcg, gfp, nr_pages):
        ret = -ENOMEM
    if machine.effects is not None:
        effect(f"mem_cgroup_hugetlb_try_charge pages {nr_pages}: {ret}")
    return ret


@ported("mm/memcontrol.c", "mem_cgroup_cancel_charge")
def mem_cgroup_cancel_charge(memcg: MemCgroup | None, nr_pages: int) -> None:
    """Take back a charge of base pages that no folio got."""
    memcg = cast("MemCgroup", memcg)
    if mem_cgroup_is_root(memcg):
        return

    page_counter_uncharge(memcg.memory, nr_pages)
    if machine.effects is not None:
        effect(f"mem_cgroup_cancel_charge pages {nr_pages}")


@ported("mm/memcontrol.c", "commit_charge")
def commit_charge(folio: Folio, memcg: MemCgroup) -> None:
    """Note in a folio what it is charged to."""
    bug_on(folio.memcg is not None, "folio_memcg_charged(folio)")
    folio.memcg = memcg


@ported("mm/memcontrol.c", "mem_cgroup_commit_charge")
def mem_cgroup_commit_charge(folio: Folio, memcg: MemCgroup | None) -> None:
    """A folio was allocated for the charge; it holds a reference to the cgroup."""
    memcg = cast("MemCgroup", memcg)
    css_get(memcg.css)
    commit_charge(folio, memcg)
    if machine.effects is not None:
        effect("mem_cgroup_commit_charge")


@ported("mm/memcontrol.c", "__mem_cgroup_uncharge")
def _mem_cgroup_uncharge(folio: Folio) -> None:
    """Take back what a folio is charged."""
    memcg: MemCgroup | None = folio.memcg
    if memcg is None:
        return

    nr_pages = 1 << folio.order
    folio.memcg = None
    if not mem_cgroup_is_root(memcg):
        page_counter_uncharge(memcg.memory, nr_pages)
    if machine.effects is not None:
        effect(f"mem_cgroup_uncharge pages {nr_pages}")
    css_put(memcg.css)


@ported("include/linux/memcontrol.h", "mem_cgroup_uncharge")
def mem_cgroup_uncharge(folio: Folio) -> None:
    """Take back what a folio is charged, if anything."""
    if mem_cgroup_disabled():
        return
    _mem_cgroup_uncharge(folio)


@ported("mm/memcontrol.c", "mem_cgroup_migrate")
def mem_cgroup_migrate(old: Folio, new: Folio) -> None:
    """The new folio takes over the old one's charge and reference."""
    bug_on(not old.locked, "!folio_test_locked(old)")
    bug_on(not new.locked, "!folio_test_locked(new)")
    bug_on(old.order != new.order, "folio_nr_pages(old) != folio_nr_pages(new)")

    if mem_cgroup_disabled():
        return

    memcg: MemCgroup | None = old.memcg
    if memcg is None:
        return

    commit_charge(new, memcg)
    old.memcg = None


# ---- control files ----


@ported("mm/memcontrol.c", "memory_max_write")
def memory_max_write(memcg: MemCgroup, buf: str) -> int:
    """Set memory.max from a text in bytes: 0 or -EINVAL.

    Raises:
        Unmodelled: more is charged already, so that the OOM killer would choose a process.
    """
    max = page_counter_memparse(buf.strip(), "max")
    if max < 0:
        return max

    memcg.memory.max = max

    if page_counter_read(memcg.memory) > max:
        msg = "memory.max below what is charged: mem_cgroup_out_of_memory"
        raise Unmodelled(msg)
    return 0


def memory_file_write(css: CgroupSubsysState, name: str, buf: str) -> int:
    """Write to the file ``memory.<name>``: 0, -ENOENT, or -EINVAL (also: read only)."""
    if name == "max":
        return memory_max_write(css.cgroup, buf)
    if name in ("current", "events", "events.local"):
        return -EINVAL
    return -ENOENT


def memory_file_read(css: CgroupSubsysState, name: str) -> str | int:
    """The text of the file ``memory.<name>``, or -ENOENT; of the events only ``max``."""
    memcg: MemCgroup = css.cgroup
    if name == "max":
        max = memcg.memory.max
        return "max\n" if max == PAGE_COUNTER_MAX else f"{max * PAGE_SIZE}\n"
    if name == "current":
        return f"{page_counter_read(memcg.memory) * PAGE_SIZE}\n"
    if name == "events":
        return f"max {memcg.events_max}\n"
    if name == "events.local":
        return f"max {memcg.events_max_local}\n"
    return -ENOENT
