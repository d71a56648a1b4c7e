# Fidelity: CUSTOM
"""What user space can read after an operation, in the shape of the recorded traces.

Counts and sizes are in huge pages; a counter that the kernel lets underflow shows as a signed
64-bit number. Only pages of the default size have counters in a recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.hugetlb.hstate import default_hstate
from models.hugetlb.inode import hugetlbfs_statfs
from models.hugetlb.structs import huge_page_size
from models.kernel.cgroup import cgroup_file_read
from models.kernel.lists import list_entries
from models.kernel.nodes import N_MEMORY

if TYPE_CHECKING:
    from models.hugetlb.hstate import hstates
    from models.hugetlb.structs import HState
    from models.kernel.cgroup import cgroup_root
    from models.kernel.fs import mounts
    from models.kernel.machine import machine
    from models.kernel.nodes import node_states
    from models.kernel.structs import Folio, PteSlot
    from models.kernel.task import Mapping, Task


def as_signed(value: int) -> int:
    """An unsigned 64-bit counter as the signed number that its bits mean."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def read_pool(h: HState) -> dict[str, int]:
    """The counters of an hstate in sysfs."""
    return {
        "nr": as_signed(h.nr_huge_pages),
        "free": as_signed(h.free_huge_pages),
        "resv": as_signed(h.resv_huge_pages),
        "surplus": as_signed(h.surplus_huge_pages),
        "overcommit": as_signed(h.nr_overcommit_huge_pages),
    }


def read_nodes(h: HState) -> list[dict[str, int]]:
    """The counters of an hstate on each node."""
    return [
        {
            "nr": h.nr_huge_pages_node[node],
            "free": h.free_huge_pages_node[node],
            "surplus": h.surplus_huge_pages_node[node],
        }
        for node in range(node_states[N_MEMORY].bit_length())
    ]


def read_mounts() -> dict[str, dict[str, int]]:
    """statfs(2) of each mount."""
    view = {}
    for name, sb in mounts.items():
        blocks, free, available = hugetlbfs_statfs(sb)
        view[name] = {"f_blocks": blocks, "f_bfree": free, "f_bavail": available}
    return view


def read_cgroup(name: str, size: int) -> dict[str, int | str]:
    """The files of a cgroup for pages of ``size`` bytes (2 MiB)."""
    view: dict[str, int | str] = {}
    for file in ("current", "rsvd.current", "max", "rsvd.max"):
        text = str(cgroup_file_read(name, f"hugetlb.2MB.{file}")).strip()
        view[file] = text if text == "max" else int(text) // size
    events = str(cgroup_file_read(name, "hugetlb.2MB.events"))
    view["events_max"] = int(events.split()[1])
    return view


def read_page(slot: PteSlot | None) -> str | None:
    """What pagemap says of one huge page: ``node:frame`` with frames of 2 MiB, or nothing, also of
    entries that are not present (pagemap_hugetlb_range() in fs/proc/task_mmu.c)."""
    if slot is None:
        return None
    pte = slot.pte
    if pte.special or pte.folio is None:
        return None
    return f"{pte.folio.nid}:{pte.folio.pfn >> 9}"


def read_mapping(task: Task, mapping: Mapping) -> list[str | None]:
    """What pagemap says of each page of a mapping as it was made; "-" where it is no more."""
    size = huge_page_size(hstates[mapping.hstate])
    table = task.mm.page_table
    return [
        "-" if mapping.lost >> page & 1 else read_page(table.get(mapping.start + page * size))
        for page in range(mapping.pages)
    ]


def read_task(task: Task) -> dict[str, Any]:
    """A process's mappings and open files, and HugetlbPages of /proc/PID/status."""
    fds = {}
    for name, file in task.fds.items():
        inode = file.f_inode
        size = huge_page_size(inode.i_sb.hstate)
        fds[name] = {
            "size": inode.i_size // size,
            "blocks": inode.i_blocks * 512 // size,
            "nlink": inode.i_nlink,
        }
    return {
        "maps": {name: read_mapping(task, mapping) for name, mapping in task.maps.items()},
        "fds": fds,
        "hugetlb_pages": task.mm.hugetlb_usage >> 9,
    }


def read_frames() -> dict[str, Folio]:
    """Every folio that an hstate has, by ``node:frame``: how long a page stays the same page."""
    return {
        f"{folio.nid}:{folio.pfn >> 9}": folio
        for h in hstates
        for folio_list in (*h.hugepage_freelists, h.hugepage_activelist)
        for folio in list_entries(folio_list)
    }


def readout() -> dict[str, Any]:
    """Everything that an operation line of a recording holds beside the result."""
    h = default_hstate()
    view: dict[str, Any] = {"pool": read_pool(h), "nodes": read_nodes(h), "mounts": read_mounts()}
    if cgroup_root.children:
        size = huge_page_size(h)
        view["cgroups"] = {name: read_cgroup(name, size) for name in cgroup_root.children}
    view["procs"] = {name: read_task(task) for name, task in machine.tasks.items() if task.alive}
    return view
