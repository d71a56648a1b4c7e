# Fidelity: DUP
"""Memory policies (mm/mempolicy.c), as far as huge pages ask for them.

hugetlbfs has no policy of its own per file range: its vm_ops know no get_policy, so that the policy
of an address is that of its vma, and else the task's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import MAX_NUMNODES
from models.kernel.errno import EINVAL
from models.kernel.gfp import _GFP_THISNODE
from models.kernel.locks import down_write, up_write
from models.kernel.machine import ULONG_MAX, bug_on, warn_on_once
from models.kernel.nodes import (
    N_MEMORY,
    N_ONLINE,
    cpuset_current_mems_allowed,
    cpuset_nodemask_valid_mems_allowed,
    first_node,
    next_node,
    next_node_in,
    node_isset,
    nodes_weight,
    numa_node_id,
)
from models.kernel.port import ported, static_data
from models.kernel.structs import NUMA_NO_NODE, PAGE_SHIFT, VmArea

if TYPE_CHECKING:
    from models.hugetlb.inline import hstate_vma
    from models.kernel.machine import machine
    from models.kernel.nodes import node_states
    from models.kernel.structs import MM
    from models.kernel.task import Task

MPOL_DEFAULT: Final = 0
MPOL_PREFERRED: Final = 1
MPOL_BIND: Final = 2
MPOL_INTERLEAVE: Final = 3
MPOL_LOCAL: Final = 4
MPOL_PREFERRED_MANY: Final = 5
MPOL_WEIGHTED_INTERLEAVE: Final = 6
MPOL_MAX: Final = 7

MPOL_F_STATIC_NODES: Final = 1 << 15
MPOL_F_RELATIVE_NODES: Final = 1 << 14
MPOL_MODE_FLAGS: Final = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES

MPOL_MF_STRICT: Final = 1 << 0
MPOL_MF_MOVE: Final = 1 << 1
MPOL_MF_MOVE_ALL: Final = 1 << 2
MPOL_MF_VALID: Final = MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL

NO_INTERLEAVE_INDEX: Final = ULONG_MAX


class MemPolicy:
    """struct mempolicy; ``nodes`` and the masks of ``w`` are node masks."""

    __slots__ = (
        "cpuset_mems_allowed",
        "flags",
        "home_node",
        "mode",
        "nodes",
        "refcnt",
        "user_nodemask",
    )

    def __init__(self, mode: int, flags: int = 0, nodes: int = 0) -> None:
        self.refcnt = 1
        self.mode = mode
        self.flags = flags
        self.nodes = nodes
        self.home_node = NUMA_NO_NODE
        self.cpuset_mems_allowed = 0
        self.user_nodemask = 0


default_policy: MemPolicy
#: Of each node, what a task without a policy has there: prefer the node.
preferred_node_policy: list[MemPolicy]
#: Weights of the nodes as written to sysfs, 0 for the default; None while nobody wrote any.
iw_table: list[int] | None


@static_data
def mempolicy_static() -> None:
    """The policies of a task that has set none (numa_policy_init)."""
    global default_policy, preferred_node_policy, iw_table
    default_policy = MemPolicy(MPOL_LOCAL)
    preferred_node_policy = [
        MemPolicy(MPOL_PREFERRED, 0, 1 << node) for node in range(MAX_NUMNODES)
    ]
    iw_table = None


# ---- reference counts ----


@ported("include/linux/mempolicy.h", "mpol_get")
def mpol_get(pol: MemPolicy | None) -> None:
    """Take a reference."""
    if pol is not None:
        pol.refcnt += 1


@ported("include/linux/mempolicy.h", "mpol_put")
def mpol_put(pol: MemPolicy | None) -> None:
    """Drop a reference."""
    if pol is not None:
        pol.refcnt -= 1


@ported("include/linux/mempolicy.h", "mpol_cond_put")
def mpol_cond_put(pol: MemPolicy | None) -> None:
    """Drop the reference that a lookup took; only shared policies (shmem's) have one."""


@ported("mm/mempolicy.c", "__mpol_dup")
def mpol_dup(old: MemPolicy | None) -> MemPolicy | None:
    """A copy with one reference."""
    if old is None:
        return None
    new = MemPolicy(old.mode, old.flags, old.nodes)
    new.home_node = old.home_node
    new.cpuset_mems_allowed = old.cpuset_mems_allowed
    new.user_nodemask = old.user_nodemask
    return new


@ported("mm/mempolicy.c", "vma_dup_policy")
def vma_dup_policy(src: VmArea, dst: VmArea) -> int:
    """Give ``dst`` a copy of the policy of ``src``; returns 0."""
    dst.vm_policy = mpol_dup(src.vm_policy)
    return 0


@ported("mm/mempolicy.c", "__mpol_equal")
def mpol_equal(a: MemPolicy | None, b: MemPolicy | None) -> bool:
    """Whether two policies say the same."""
    if a is b:
        return True
    if a is None or b is None:
        return False
    if a.mode != b.mode:
        return False
    if a.flags != b.flags:
        return False
    if a.home_node != b.home_node:
        return False
    if a.flags & MPOL_MODE_FLAGS and a.user_nodemask != b.user_nodemask:
        return False
    if a.mode == MPOL_LOCAL:
        return True
    bug_on(not MPOL_DEFAULT < a.mode < MPOL_MAX, "__mpol_equal: mode")
    return a.nodes == b.nodes


@ported("include/linux/mempolicy.h", "mpol_is_preferred_many")
def mpol_is_preferred_many(pol: MemPolicy) -> bool:
    """Whether the policy prefers several nodes."""
    return pol.mode == MPOL_PREFERRED_MANY


# ---- making a policy ----


@ported("mm/mempolicy.c", "get_il_weight")
def get_il_weight(node: int) -> int:
    """Pages that weighted interleaving takes from the node in a row."""
    return (iw_table[node] if iw_table else 1) or 1


@ported("mm/mempolicy.c", "node_store")
def iw_node_store(nid: int, weight: int) -> int:
    """Write a node's weight (sysfs; 1 to 255, 0 for the default): 0 or -EINVAL."""
    global iw_table
    if not 0 <= weight <= 255 or not node_isset(nid, node_states[N_ONLINE]):
        return -EINVAL
    new = list(iw_table) if iw_table else [0] * MAX_NUMNODES
    new[nid] = weight
    iw_table = new
    return 0


@ported("mm/mempolicy.c", "mpol_store_user_nodemask")
def mpol_store_user_nodemask(pol: MemPolicy) -> int:
    """Whether the mask that the user gave is kept, to be interpreted anew."""
    return pol.flags & MPOL_MODE_FLAGS


@ported("mm/mempolicy.c", "mpol_relative_nodemask")
def mpol_relative_nodemask(orig: int, rel: int) -> int:
    """The mask ``orig``, folded to the number of nodes in ``rel``, counted off along ``rel``."""
    sz = nodes_weight(rel)
    allowed = [n for n in range(MAX_NUMNODES) if node_isset(n, rel)]
    ret = 0
    for bit in range(orig.bit_length()):
        if orig >> bit & 1:
            ret |= 1 << allowed[bit % sz]
    return ret


@ported("mm/mempolicy.c", "mpol_new_nodemask")
def mpol_new_nodemask(pol: MemPolicy, nodes: int) -> int:
    """Set the nodes of a policy: 0, or -EINVAL if there are none."""
    if not nodes:
        return -EINVAL
    pol.nodes = nodes
    return 0


@ported("mm/mempolicy.c", "mpol_new_preferred")
def mpol_new_preferred(pol: MemPolicy, nodes: int) -> int:
    """Set the one node of a policy: 0, or -EINVAL if there is none."""
    if not nodes:
        return -EINVAL
    pol.nodes = 1 << first_node(nodes)
    return 0


@ported("mm/mempolicy.c", "mpol_set_nodemask")
def mpol_set_nodemask(pol: MemPolicy | None, nodes: int) -> int:
    """Confine a new policy to nodes with memory that the cpuset allows: 0 or -EINVAL."""
    if pol is None or pol.mode == MPOL_LOCAL:
        return 0
    mask1 = cpuset_current_mems_allowed() & node_states[N_MEMORY]
    if pol.flags & MPOL_F_RELATIVE_NODES:
        mask2 = mpol_relative_nodemask(nodes, mask1)
    else:
        mask2 = nodes & mask1
    if mpol_store_user_nodemask(pol):
        pol.user_nodemask = nodes
    else:
        pol.cpuset_mems_allowed = cpuset_current_mems_allowed()
    if pol.mode == MPOL_PREFERRED:
        return mpol_new_preferred(pol, mask2)
    return mpol_new_nodemask(pol, mask2)


@ported("mm/mempolicy.c", "mpol_new")
def mpol_new(mode: int, flags: int, nodes: int) -> MemPolicy | int | None:
    """A policy without nodes as yet, None for the default, or -EINVAL."""
    if mode == MPOL_DEFAULT:
        if nodes:
            return -EINVAL
        return None
    if mode == MPOL_PREFERRED:
        if not nodes:
            if flags & MPOL_F_STATIC_NODES or flags & MPOL_F_RELATIVE_NODES:
                return -EINVAL
            mode = MPOL_LOCAL
    elif mode == MPOL_LOCAL:
        if nodes or flags & MPOL_F_STATIC_NODES or flags & MPOL_F_RELATIVE_NODES:
            return -EINVAL
    elif not nodes:
        return -EINVAL
    return MemPolicy(mode, flags)


# ---- cpuset changes ----


def nodes_remap(src: int, old: int, new: int) -> int:
    """Map the k-th node of ``old`` to the k-th of ``new``, others to themselves (bitmap_remap)."""
    w = nodes_weight(new)
    olds = [n for n in range(MAX_NUMNODES) if node_isset(n, old)]
    news = [n for n in range(MAX_NUMNODES) if node_isset(n, new)]
    dst = 0
    for oldbit in range(MAX_NUMNODES):
        if not node_isset(oldbit, src):
            continue
        if oldbit not in olds or w == 0:
            dst |= 1 << oldbit
        else:
            dst |= 1 << news[olds.index(oldbit) % w]
    return dst


@ported("mm/mempolicy.c", "mpol_rebind_nodemask")
def mpol_rebind_nodemask(pol: MemPolicy, nodes: int) -> None:
    """Fit the nodes of a policy to a new set of allowed nodes."""
    if pol.flags & MPOL_F_STATIC_NODES:
        tmp = pol.user_nodemask & nodes
    elif pol.flags & MPOL_F_RELATIVE_NODES:
        tmp = mpol_relative_nodemask(pol.user_nodemask, nodes)
    else:
        tmp = nodes_remap(pol.nodes, pol.cpuset_mems_allowed, nodes)
        pol.cpuset_mems_allowed = nodes
    if not tmp:
        tmp = nodes
    pol.nodes = tmp


@ported("mm/mempolicy.c", "mpol_rebind_preferred")
def mpol_rebind_preferred(pol: MemPolicy, nodes: int) -> None:
    """Preferred nodes stay as they are when the allowed nodes change."""
    pol.cpuset_mems_allowed = nodes


@ported("mm/mempolicy.c", "mpol_rebind_policy")
def mpol_rebind_policy(pol: MemPolicy | None, newmask: int) -> None:
    """Fit a policy to a new set of allowed nodes."""
    if pol is None or pol.mode == MPOL_LOCAL:
        return
    if not mpol_store_user_nodemask(pol) and pol.cpuset_mems_allowed == newmask:
        return
    if pol.mode in (MPOL_PREFERRED, MPOL_PREFERRED_MANY):
        mpol_rebind_preferred(pol, newmask)
    else:
        mpol_rebind_nodemask(pol, newmask)


@ported("mm/mempolicy.c", "mpol_rebind_task")
def mpol_rebind_task(tsk: Task, new: int) -> None:
    """Fit a task's policy to a new set of allowed nodes."""
    mpol_rebind_policy(tsk.mempolicy, new)


@ported("mm/mempolicy.c", "mpol_rebind_mm")
def mpol_rebind_mm(mm: MM, new: int) -> None:
    """Fit the policies of all vmas to a new set of allowed nodes."""
    down_write(mm.mmap_lock)
    for vma in mm.vmas:
        mpol_rebind_policy(vma.vm_policy, new)
    up_write(mm.mmap_lock)


# ---- using a policy ----


@ported("mm/mempolicy.c", "get_task_policy")
def get_task_policy(p: Task | None) -> MemPolicy:
    """The task's policy, or the one for the node that it runs on."""
    if p is not None and p.mempolicy is not None:
        return p.mempolicy
    node = numa_node_id()
    if node != NUMA_NO_NODE:
        return preferred_node_policy[node]
    return default_policy


@ported("mm/mempolicy.c", "get_vma_policy")
def get_vma_policy(vma: VmArea, addr: int, order: int) -> tuple[MemPolicy, int]:
    """The policy of an address (bytes), and its interleave index (huge pages)."""
    ilx = 0
    pol = vma.vm_policy
    if pol is None:
        pol = get_task_policy(machine.current)
    if pol.mode in (MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE):
        ilx += vma.vm_pgoff >> order
        ilx += (addr - vma.vm_start) >> (PAGE_SHIFT + order)
    return pol, ilx


@ported("mm/mempolicy.c", "apply_policy_zone")
def apply_policy_zone(policy: MemPolicy) -> bool:
    """Whether a policy binds this allocation: no node has movable memory only, so always."""
    return True


@ported("mm/mempolicy.c", "weighted_interleave_nodes")
def weighted_interleave_nodes(policy: MemPolicy) -> int:
    """The node for the running task's next page, by weight."""
    current = machine.current
    assert current is not None
    node = current.il_prev
    if not current.il_weight or not node_isset(node, policy.nodes):
        node = next_node_in(node, policy.nodes)
        if node == MAX_NUMNODES:
            return node
        current.il_prev = node
        current.il_weight = get_il_weight(node)
    current.il_weight -= 1
    return node


@ported("mm/mempolicy.c", "interleave_nodes")
def interleave_nodes(policy: MemPolicy) -> int:
    """The node for the running task's next page."""
    current = machine.current
    assert current is not None
    nid = next_node_in(current.il_prev, policy.nodes)
    if nid < MAX_NUMNODES:
        current.il_prev = nid
    return nid


@ported("mm/mempolicy.c", "weighted_interleave_nid")
def weighted_interleave_nid(pol: MemPolicy, ilx: int) -> int:
    """The node of interleave index ``ilx`` (huge pages), by weight."""
    nodemask = pol.nodes
    if not nodes_weight(nodemask):
        return numa_node_id()
    weight_total = 0
    nid = first_node(nodemask)
    while nid < MAX_NUMNODES:
        weight_total += get_il_weight(nid)
        nid = next_node(nid, nodemask)
    target = ilx % weight_total
    nid = first_node(nodemask)
    while target:
        weight = get_il_weight(nid)
        if target < weight:
            break
        target -= weight
        nid = next_node_in(nid, nodemask)
    return nid


@ported("mm/mempolicy.c", "interleave_nid")
def interleave_nid(pol: MemPolicy, ilx: int) -> int:
    """The node of interleave index ``ilx`` (huge pages)."""
    nodemask = pol.nodes
    nnodes = nodes_weight(nodemask)
    if not nnodes:
        return numa_node_id()
    target = ilx % nnodes
    nid = first_node(nodemask)
    for _ in range(target):
        nid = next_node(nid, nodemask)
    return nid


@ported("mm/mempolicy.c", "policy_nodemask")
def policy_nodemask(gfp: int, pol: MemPolicy, ilx: int, nid: int) -> tuple[int | None, int]:
    """The nodes that a policy confines an allocation to (None: no such bounds), and the node that
    it prefers: ``nid`` unless the policy says otherwise."""
    nodemask: int | None = None
    mode = pol.mode
    if mode == MPOL_PREFERRED:
        nid = first_node(pol.nodes)
    elif mode == MPOL_PREFERRED_MANY:
        nodemask = pol.nodes
        if pol.home_node != NUMA_NO_NODE:
            nid = pol.home_node
    elif mode == MPOL_BIND:
        if apply_policy_zone(pol) and cpuset_nodemask_valid_mems_allowed(pol.nodes):
            nodemask = pol.nodes
        if pol.home_node != NUMA_NO_NODE:
            nid = pol.home_node
        warn_on_once(gfp & _GFP_THISNODE, "gfp & __GFP_THISNODE")
    elif mode == MPOL_INTERLEAVE:
        nid = interleave_nodes(pol) if ilx == NO_INTERLEAVE_INDEX else interleave_nid(pol, ilx)
    elif mode == MPOL_WEIGHTED_INTERLEAVE:
        if ilx == NO_INTERLEAVE_INDEX:
            nid = weighted_interleave_nodes(pol)
        else:
            nid = weighted_interleave_nid(pol, ilx)
    return nodemask, nid


@ported("mm/mempolicy.c", "huge_node")
def huge_node(vma: VmArea, addr: int, gfp_flags: int) -> tuple[int, MemPolicy, int | None]:
    """Node that a huge page for an address (bytes) should come from, the policy that says so, and
    the nodes that it is confined to (None: no such bounds)."""
    nid = numa_node_id()
    mpol, ilx = get_vma_policy(vma, addr, hstate_vma(vma).order)
    nodemask, nid = policy_nodemask(gfp_flags, mpol, ilx, nid)
    return nid, mpol, nodemask


@ported("mm/mempolicy.c", "init_nodemask_of_mempolicy")
def init_nodemask_of_mempolicy() -> int | None:
    """The nodes of the running task's policy, or None if it has the default one."""
    current = machine.current
    if current is None or current.mempolicy is None:
        return None
    mempolicy = current.mempolicy
    bug_on(
        mempolicy.mode
        not in (
            MPOL_PREFERRED,
            MPOL_PREFERRED_MANY,
            MPOL_BIND,
            MPOL_INTERLEAVE,
            MPOL_WEIGHTED_INTERLEAVE,
            MPOL_LOCAL,
        ),
        "init_nodemask_of_mempolicy: mode",
    )
    if mempolicy.mode == MPOL_LOCAL:
        return 1 << numa_node_id()
    return mempolicy.nodes
