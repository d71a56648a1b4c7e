# Fidelity: CUSTOM
"""NUMA nodes: node masks, which CPU is where, zonelists, the nodes a cpuset allows.

A ``nodemask_t`` is an integer, bit k for node k. A node has one zone here: whoever walks a zonelist
for huge pages looks at each node once (dequeue_hugetlb_folio_nodemask skips the rest, and the
allocator takes whichever zone has room), so that a zonelist is a list of nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import MAX_NUMNODES
from models.kernel.errno import EINVAL
from models.kernel.gfp import _GFP_THISNODE
from models.kernel.port import ported, static_data
from models.kernel.structs import NUMA_NO_NODE

if TYPE_CHECKING:
    from models.kernel.machine import machine

#: Indices of ``node_states``.
N_ONLINE: Final = 0
N_MEMORY: Final = 1
N_CPU: Final = 2
NR_NODE_STATES: Final = 3

LOCAL_DISTANCE: Final = 10
REMOTE_DISTANCE: Final = 20
PENALTY_FOR_NODE_WITH_CPUS: Final = 1
INT_MAX: Final = (1 << 31) - 1

#: Masks of the nodes in each state.
node_states: list[int]
#: Of each node, all nodes with memory in the order in which an allocation tries them.
node_zonelists: list[list[int]]
#: CPUs of the machine; CPU k is on node k modulo the number of nodes.
nr_cpu_ids: int


@static_data
def nodes_init() -> None:
    """One node with memory and two CPUs, until numa_init() says otherwise."""
    global node_states, node_zonelists, nr_cpu_ids
    node_states = [1, 1, 1]
    node_zonelists = [[0]]
    nr_cpu_ids = 2


# ---- include/linux/nodemask.h ----


@ported("include/linux/nodemask.h", "nodes_weight")
def nodes_weight(mask: int) -> int:
    """Number of nodes in the mask."""
    return mask.bit_count()


@ported("include/linux/nodemask.h", "node_isset")
def node_isset(node: int, mask: int) -> bool:
    """Whether the mask has the node."""
    return mask >> node & 1 != 0


@ported("include/linux/nodemask.h", "first_node")
def first_node(mask: int) -> int:
    """The lowest node of the mask, MAX_NUMNODES if it is empty."""
    return (mask & -mask).bit_length() - 1 if mask else MAX_NUMNODES


@ported("include/linux/nodemask.h", "next_node")
def next_node(n: int, mask: int) -> int:
    """The lowest node of the mask above ``n``, MAX_NUMNODES if there is none."""
    return first_node(mask >> (n + 1) << (n + 1))


@ported("include/linux/nodemask.h", "__next_node_in")
def next_node_in(n: int, mask: int) -> int:
    """The next node of the mask after ``n``, from the beginning again at the end."""
    ret = next_node(n, mask)
    if ret == MAX_NUMNODES:
        ret = first_node(mask)
    return ret


# ---- CPUs ----


@ported("include/linux/topology.h", "cpu_to_node")
def cpu_to_node(cpu: int) -> int:
    """The node that a CPU is on."""
    return cpu % len(node_zonelists)


@ported("include/linux/topology.h", "numa_node_id")
def numa_node_id() -> int:
    """The node that the running task is on (init runs on CPU 0)."""
    task = machine.current
    return 0 if task is None else task.cpu % len(node_zonelists)


@ported("include/linux/topology.h", "numa_mem_id")
def numa_mem_id() -> int:
    """The nearest node with memory: x86 has no memoryless nodes, so the node itself."""
    return numa_node_id()


@ported("kernel/sched/syscalls.c", "sched_setaffinity")
def sched_setaffinity(cpu: int) -> int:
    """Pin the running task to one CPU: 0, or -EINVAL if there is no such CPU."""
    if not 0 <= cpu < nr_cpu_ids:
        return -EINVAL
    assert machine.current is not None
    machine.current.cpu = cpu
    return 0


# ---- cpusets ----


@ported("include/linux/cpuset.h", "cpuset_current_mems_allowed")
def cpuset_current_mems_allowed() -> int:
    """Nodes that the running task's cpuset allows; a task that was never put into one may use all
    nodes with memory."""
    task = machine.current
    return (task.mems_allowed if task is not None else 0) or node_states[N_MEMORY]


@ported("include/linux/cpuset.h", "cpuset_zone_allowed")
def cpuset_zone_allowed(nid: int, gfp_mask: int) -> bool:
    """Whether the running task may take memory of the node. HugeTLB's masks have __GFP_HARDWALL,
    with which no outer cpuset is looked at."""
    return cpuset_current_mems_allowed() >> nid & 1 != 0


@ported("kernel/cgroup/cpuset.c", "cpuset_nodemask_valid_mems_allowed")
def cpuset_nodemask_valid_mems_allowed(nodemask: int) -> bool:
    """Whether the mask has a node that the running task's cpuset allows."""
    return nodemask & cpuset_current_mems_allowed() != 0


# ---- mm/page_alloc.c: order of fallback ----


@ported("include/linux/gfp.h", "node_zonelist")
def node_zonelist(nid: int, flags: int) -> list[int]:
    """Nodes that an allocation that prefers ``nid`` tries, in order."""
    if flags & _GFP_THISNODE:
        return [nid] if node_isset(nid, node_states[N_MEMORY]) else []
    return node_zonelists[nid]


@ported("include/linux/topology.h", "node_distance")
def node_distance(a: int, b: int) -> int:
    """Distance by the default table: local 10, any other 20."""
    return LOCAL_DISTANCE if a == b else REMOTE_DISTANCE


@ported("mm/page_alloc.c", "find_next_best_node")
def find_next_best_node(node: int, used_node_mask: int, node_load: list[int]) -> int:
    """The node that comes next in the fallback list of ``node``, or NUMA_NO_NODE.

    The caller marks it as used.
    """
    if not node_isset(node, used_node_mask) and node_isset(node, node_states[N_MEMORY]):
        return node
    min_val = INT_MAX
    best_node = NUMA_NO_NODE
    for n in range(MAX_NUMNODES):
        if not node_isset(n, node_states[N_MEMORY]):
            continue
        if node_isset(n, used_node_mask):
            continue
        val = node_distance(node, n)
        val += int(n < node)
        if node_isset(n, node_states[N_CPU]):
            val += PENALTY_FOR_NODE_WITH_CPUS
        val *= MAX_NUMNODES
        val += node_load[n]
        if val < min_val:
            min_val = val
            best_node = n
    return best_node


@ported("mm/page_alloc.c", "build_zonelists")
def build_zonelists(local_node: int, node_load: list[int]) -> list[int]:
    """The fallback list of a node."""
    node_order: list[int] = []
    used_mask = 0
    prev_node = local_node
    while (node := find_next_best_node(local_node, used_mask, node_load)) >= 0:
        used_mask |= 1 << node
        if node_distance(local_node, node) != node_distance(local_node, prev_node):
            node_load[node] += 1
        node_order.append(node)
        prev_node = node
    return node_order


def numa_init(node_has_memory: list[bool]) -> None:
    """Bring up one node for each entry, which says whether the node has memory."""
    global node_states, node_zonelists, nr_cpu_ids
    nodes = len(node_has_memory)
    assert 1 <= nodes <= MAX_NUMNODES, nodes
    nr_cpu_ids = max(2, nodes)
    online = (1 << nodes) - 1
    memory = sum(1 << n for n in range(nodes) if node_has_memory[n])
    node_states = [online, memory, online]
    node_load = [0] * MAX_NUMNODES
    node_zonelists = [build_zonelists(n, node_load) for n in range(nodes)]
