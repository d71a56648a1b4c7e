# Fidelity: DUP
"""The memory nodes of cpusets in cgroup2 (kernel/cgroup/cpuset.c).

A cgroup's state is made when the controller is enabled, at the first write to a ``cpuset.mems``. On
cgroup2 pages always follow their process to its new nodes; the kernel moves them from a work queue,
here they have moved when the write returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.cgroup import Cgroup
from models.kernel.errno import EINVAL, ENOENT, ENOSPC
from models.kernel.locks import Lock, mutex_lock, mutex_unlock
from models.kernel.nodes import N_MEMORY
from models.kernel.port import ported, static_data

if TYPE_CHECKING:
    from models.kernel.cgroup import cgroup_has_tasks, cgroup_lookup, cgroup_root, task_cgroup
    from models.kernel.machine import machine
    from models.kernel.mempolicy import mpol_rebind_mm, mpol_rebind_task
    from models.kernel.migrate import do_migrate_pages
    from models.kernel.nodes import node_states
    from models.kernel.structs import MM
    from models.kernel.task import Task


class Cpuset:
    """struct cpuset: node masks as written, as they hold, and as they held before."""

    __slots__ = ("effective_mems", "mems_allowed", "old_mems_allowed")

    def __init__(self) -> None:
        self.mems_allowed = 0
        self.effective_mems = 0
        self.old_mems_allowed = 0


cpuset_mutex: Lock


@static_data
def cpuset_static() -> None:
    """The lock of all cpusets."""
    global cpuset_mutex
    cpuset_mutex = Lock("cpuset_mutex")


# ---- where the state of a cgroup is ----


@ported("kernel/cgroup/cpuset.c", "cpuset_css_online")
def cpuset_css_online(cgrp: Cgroup) -> None:
    """Give a new cgroup a cpuset that holds what its parent's does."""
    cs = Cpuset()
    assert cgrp.parent is not None
    cs.effective_mems = cgrp.parent.cpuset.effective_mems
    cgrp.cpuset = cs


def cpuset_enable() -> None:
    """Enable the controller for all cgroups that there are. Nothing changes for their processes."""
    if cgroup_root.cpuset is not None:
        return
    top_cpuset = Cpuset()
    top_cpuset.mems_allowed = node_states[N_MEMORY]
    top_cpuset.effective_mems = node_states[N_MEMORY]
    top_cpuset.old_mems_allowed = node_states[N_MEMORY]
    cgroup_root.cpuset = top_cpuset
    for cgrp in cpuset_descendants(cgroup_root):
        if cgrp.parent is not None:
            cpuset_css_online(cgrp)
            if cgroup_has_tasks(cgrp):
                cgrp.cpuset.old_mems_allowed = cgrp.cpuset.effective_mems


def cpuset_descendants(cgrp: Cgroup) -> list[Cgroup]:
    """The cgroup and all below it, parents first."""
    found = [cgrp]
    for child in cgrp.children.values():
        found.extend(cpuset_descendants(child))
    return found


# ---- what changes for processes ----


@ported("kernel/cgroup/cpuset.c", "guarantee_online_mems")
def guarantee_online_mems(cgrp: Cgroup) -> int:
    """The nodes with memory that a cpuset holds, or that the nearest one above it does."""
    while not cgrp.cpuset.effective_mems & node_states[N_MEMORY]:
        assert cgrp.parent is not None
        cgrp = cgrp.parent
    mems: int = cgrp.cpuset.effective_mems & node_states[N_MEMORY]
    return mems


@ported("kernel/cgroup/cpuset.c", "cpuset_change_task_nodemask")
def cpuset_change_task_nodemask(tsk: Task, newmems: int) -> None:
    """Let a process use the nodes ``newmems`` from now on."""
    tsk.mems_allowed = (tsk.mems_allowed or node_states[N_MEMORY]) | newmems
    mpol_rebind_task(tsk, newmems)
    tsk.mems_allowed = newmems


@ported("kernel/cgroup/cpuset.c", "cpuset_migrate_mm")
def cpuset_migrate_mm(mm: MM, from_: int, to: int) -> None:
    """Move the pages of an address space between sets of nodes."""
    if from_ == to:
        return
    do_migrate_pages(mm, from_, to)


@ported("kernel/cgroup/cpuset.c", "cpuset_update_tasks_nodemask")
def cpuset_update_tasks_nodemask(cgrp: Cgroup) -> None:
    """Tell the processes of a cpuset which nodes it holds now."""
    cs = cgrp.cpuset
    newmems = guarantee_online_mems(cgrp)
    for task in list(machine.tasks.values()):
        if not task.alive or task_cgroup(task) is not cgrp:
            continue
        cpuset_change_task_nodemask(task, newmems)
        mpol_rebind_mm(task.mm, cs.effective_mems)
        cpuset_migrate_mm(task.mm, cs.old_mems_allowed, newmems)
    cs.old_mems_allowed = newmems


@ported("kernel/cgroup/cpuset.c", "update_nodemasks_hier")
def update_nodemasks_hier(top: Cgroup) -> None:
    """Find out what a cpuset and those below it hold after a change."""
    pending = [top]
    while pending:
        cgrp = pending.pop()
        cp = cgrp.cpuset
        assert cgrp.parent is not None
        parent = cgrp.parent.cpuset
        new_mems = cp.mems_allowed & parent.effective_mems
        if not new_mems:
            new_mems = parent.effective_mems
        # What is below cannot have changed either.
        if new_mems == cp.effective_mems:
            continue
        cp.effective_mems = new_mems
        cpuset_update_tasks_nodemask(cgrp)
        pending.extend(reversed(list(cgrp.children.values())))


@ported("kernel/cgroup/cpuset.c", "validate_change")
def validate_change(cgrp: Cgroup, trial_mems: int) -> int:
    """0, or -ENOSPC: a cpuset with processes cannot lose all the nodes that it was given."""
    if cgroup_has_tasks(cgrp) and cgrp.cpuset.mems_allowed and not trial_mems:
        return -ENOSPC
    return 0


@ported("kernel/cgroup/cpuset.c", "update_nodemask")
def update_nodemask(cgrp: Cgroup, mems: int) -> int:
    """Write a node mask (0: what the parent holds) to cpuset.mems: 0 or -errno."""
    cs = cgrp.cpuset
    if mems & ~cgroup_root.cpuset.mems_allowed:
        return -EINVAL
    if cs.mems_allowed == mems:
        return 0
    retval = validate_change(cgrp, mems)
    if retval < 0:
        return retval
    cs.mems_allowed = mems
    update_nodemasks_hier(cgrp)
    return 0


@ported("kernel/cgroup/cpuset.c", "cpuset_write_resmask")
def cpuset_write_resmask(path: str, mems: int) -> int:
    """Write to cpuset.mems of a cgroup, which the root has not: 0 or -errno."""
    cgrp = cgroup_lookup(path)
    if cgrp is None or cgrp.parent is None:
        return -ENOENT
    cpuset_enable()
    mutex_lock(cpuset_mutex)
    retval = update_nodemask(cgrp, mems)
    mutex_unlock(cpuset_mutex)
    return retval


@ported("kernel/cgroup/cpuset.c", "cpuset_attach")
def cpuset_attach(oldcgrp: Cgroup, cgrp: Cgroup, task: Task) -> None:
    """A process came to a cgroup from another: it may use what that holds, and its pages move."""
    if cgroup_root.cpuset is None or oldcgrp is cgrp:
        return
    cs, oldcs = cgrp.cpuset, oldcgrp.cpuset
    mutex_lock(cpuset_mutex)
    if cs.effective_mems != oldcs.effective_mems:
        cpuset_change_task_nodemask(task, guarantee_online_mems(cgrp))
        mpol_rebind_mm(task.mm, cs.effective_mems)
        cpuset_migrate_mm(task.mm, oldcs.old_mems_allowed, cs.effective_mems)
    cs.old_mems_allowed = cs.effective_mems
    mutex_unlock(cpuset_mutex)
