# Fidelity: CUSTOM
"""Booting a world.

Keys, all optional: ``nodes`` (1 to 4, default 2); ``node_mb`` (capacity of each node in MiB, one
number or a list such as "512,1024", default 512, with 1G pages 4096); ``hstates`` ("2M" or
"2M,1G"); ``nr_hugepages`` and ``nr_overcommit_hugepages`` (2 MiB pages) and ``nr_hugepages_1g``
(1 GiB pages), in huge pages; ``memory_hugetlb_accounting`` (0 or 1: whether memory cgroups are
charged for huge pages).

The pools are filled as the recorder does it, by two writes to sysfs: overcommit first, then the
number of pages, with both round-robin cursors on the first node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.hstate import hugetlb_add_hstate, hugetlb_init_hstates, size_to_hstate
from models.hugetlb.inode import init_hugetlbfs_fs
from models.hugetlb.pool import nr_hugepages_store, nr_overcommit_hugepages_store
from models.kernel.buddy import boot_memory
from models.kernel.cgroup import cgroup_init
from models.schema.trace import Args

if TYPE_CHECKING:
    from models.kernel.machine import machine
    from models.kernel.opframe import init_task

ORDER_2M: Final = 9
ORDER_1G: Final = 18
DEFAULT_NODES: Final = 2
NODE_MB_2M: Final = 512
NODE_MB_1G: Final = 4096


def world_node_mb(world: Args) -> list[int]:
    """Capacity of each node in MiB."""
    nodes = int(world.get("nodes", DEFAULT_NODES))
    giant = "1G" in str(world.get("hstates", "2M"))
    sizes = str(world.get("node_mb", NODE_MB_1G if giant else NODE_MB_2M)).split(",")
    return [int(sizes[min(node, len(sizes) - 1)]) for node in range(nodes)]


def boot_world(world: Args) -> None:
    """Bring up a world in a system whose global variables have their initial values.

    The caller has checked the world. What does not fit the nodes is simply not in the pool.
    """
    machine.current = init_task
    boot_memory(world_node_mb(world))
    hugetlb_add_hstate(ORDER_2M)
    if "1G" in str(world.get("hstates", "2M")):
        hugetlb_add_hstate(ORDER_1G)
    hugetlb_init_hstates()
    init_hugetlbfs_fs()
    cgroup_init(bool(world.get("memory_hugetlb_accounting", 0)))
    h = size_to_hstate(1 << 21)
    assert h is not None
    nr_overcommit_hugepages_store(h, int(world.get("nr_overcommit_hugepages", 0)))
    nr_hugepages_store(h, int(world.get("nr_hugepages", 0)))
    giant = size_to_hstate(1 << 30)
    if giant is not None:
        nr_hugepages_store(giant, int(world.get("nr_hugepages_1g", 0)))
