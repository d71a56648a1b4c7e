# Fidelity: CUSTOM
"""The cgroup2 tree: directories, the processes in them, and the references that outlive them.

Every cgroup has the hugetlb and the memory controller. A directory's name is its path from the
root without a leading slash; ``/`` is the root. The kernel releases an offline cgroup from a work
queue; here that happens at once, as nothing is observed in between.

Boot calls :func:`cgroup_init` once the hstates exist. Until then, and in worlds without it, both
controllers are disabled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models.kernel.errno import EBUSY, EEXIST, ENOENT, ESRCH
from models.kernel.machine import warn_on_once
from models.kernel.page_counter import CgroupSubsysState
from models.kernel.port import ported, static_data

if TYPE_CHECKING:
    from models.hugetlb.cgroup import (
        hugetlb_cgroup_css_alloc,
        hugetlb_cgroup_css_free,
        hugetlb_cgroup_css_offline,
        hugetlb_file_read,
        hugetlb_file_write,
    )
    from models.kernel.cpuset import cpuset_attach, cpuset_css_online
    from models.kernel.machine import machine
    from models.kernel.memcg import (
        mem_cgroup_css_alloc,
        memory_accounting_init,
        memory_file_read,
        memory_file_write,
    )
    from models.kernel.task import Task


class Cgroup:
    """struct cgroup: a directory of the cgroup2 file system.

    ``controls`` says that its controllers are handed on to its children (subtree_control), after
    which it can hold no process itself.
    """

    __slots__ = ("children", "controls", "cpuset", "hugetlb", "memory", "name", "parent")

    def __init__(self, name: str, parent: Cgroup | None) -> None:
        self.name = name
        self.parent = parent
        self.children: dict[str, Cgroup] = {}
        self.controls = False
        self.hugetlb: CgroupSubsysState | None = None
        self.memory: CgroupSubsysState | None = None
        #: Its Cpuset, once that controller is enabled.
        self.cpuset: Any = None


cgroup_root: Cgroup


@static_data
def cgroup_init_early() -> None:
    """The root directory, without controllers."""
    global cgroup_root
    cgroup_root = Cgroup("", None)
    cgroup_root.controls = True


def cgroup_init(memory_hugetlb_accounting: bool) -> None:
    """Enable the controllers; the argument is the mount option of that name."""
    cgroup_root.hugetlb = hugetlb_cgroup_css_alloc(None)
    cgroup_root.memory = mem_cgroup_css_alloc(None)
    memory_accounting_init(memory_hugetlb_accounting)


# ---- references ----


@ported("include/linux/cgroup_refcnt.h", "css_get")
def css_get(css: CgroupSubsysState) -> None:
    """Take one reference."""
    if not css.no_ref:
        css.refcount += 1


@ported("include/linux/cgroup_refcnt.h", "css_tryget")
def css_tryget(css: CgroupSubsysState) -> bool:
    """Take one reference unless the last is gone; returns whether it was taken."""
    if css.no_ref:
        return True
    if not css.online and css.refcount == 0:
        return False
    css.refcount += 1
    return True


@ported("include/linux/cgroup_refcnt.h", "css_put")
def css_put(css: CgroupSubsysState) -> None:
    """Drop one reference; the last one of an offline cgroup frees it."""
    if css.no_ref:
        return
    css.refcount -= 1
    if not css.online and css.refcount == 0:
        css_free(css)


def css_free(css: CgroupSubsysState) -> None:
    """Free a controller's state of a removed cgroup; its parent was held for it."""
    if css.name == "hugetlb":
        hugetlb_cgroup_css_free(css)
    if css.parent is not None:
        css_put(css.parent)


def kill_css(css: CgroupSubsysState) -> None:
    """Take a controller's state of a cgroup offline and drop its first reference."""
    css.online = False
    warn_on_once(css.refcount <= 0, "percpu ref (css_release) <= 0 after switching to atomic")
    if css.name == "hugetlb":
        hugetlb_cgroup_css_offline(css)
    css_put(css)


# ---- directories ----


def cgroup_path(path: str) -> list[str]:
    """The names of the directories down to ``path``."""
    return [part for part in path.split("/") if part]


def cgroup_lookup(path: str) -> Cgroup | None:
    """The cgroup of that path, or None."""
    cgrp: Cgroup | None = cgroup_root
    for part in cgroup_path(path):
        if cgrp is not None:
            cgrp = cgrp.children.get(part)
    return cgrp


def cgroup_walk(cgrp: Cgroup) -> Iterator[Cgroup]:
    """The cgroup and all below it, parents first, in the order of creation."""
    yield cgrp
    for child in cgrp.children.values():
        yield from cgroup_walk(child)


def task_cgroup(task: Task | None) -> Cgroup:
    """The cgroup a process is in; work outside of any process belongs to the root."""
    if task is None or task.cgroup is None:
        return cgroup_root
    cgrp: Cgroup = task.cgroup
    return cgrp


def cgroup_fork(child: Task, parent: Task) -> None:
    """A new process starts in its parent's cgroup."""
    child.cgroup = parent.cgroup


def cgroup_has_tasks(cgrp: Cgroup) -> bool:
    """Whether a living process is in the cgroup itself."""
    for task in machine.tasks.values():
        if task.alive and task_cgroup(task) is cgrp:
            return True
    return False


def cgroup_mkdir(path: str) -> int:
    """mkdir in the cgroup2 file system, handing on the parent's controllers first.

    0, -ENOENT without a parent, -EEXIST, or -EBUSY when the parent holds processes.
    """
    parts = cgroup_path(path)
    if not parts:
        return -EEXIST
    parent = cgroup_lookup("/".join(parts[:-1]))
    if parent is None:
        return -ENOENT
    if parts[-1] in parent.children:
        return -EEXIST
    if not parent.controls:
        if cgroup_has_tasks(parent):
            return -EBUSY
        parent.controls = True
    cgrp = Cgroup("/".join(parts), parent)
    if parent.hugetlb is not None:
        memory = mem_cgroup_css_alloc(parent.memory)
        hugetlb = hugetlb_cgroup_css_alloc(parent.hugetlb)
        css_get(parent.hugetlb)
        cgrp.hugetlb = hugetlb
        if parent.memory is not None:
            css_get(parent.memory)
        cgrp.memory = memory
    parent.children[parts[-1]] = cgrp
    if parent.cpuset is not None:
        cpuset_css_online(cgrp)
    return 0


def cgroup_rmdir(path: str) -> int:
    """rmdir of a cgroup: 0, -ENOENT, or -EBUSY while it has processes or children."""
    cgrp = cgroup_lookup(path)
    if cgrp is None:
        return -ENOENT
    if cgrp.parent is None or cgroup_has_tasks(cgrp) or cgrp.children:
        return -EBUSY
    del cgrp.parent.children[cgroup_path(path)[-1]]
    # By the controllers' numbers.
    if cgrp.memory is not None:
        kill_css(cgrp.memory)
    if cgrp.hugetlb is not None:
        kill_css(cgrp.hugetlb)
    return 0


def cgroup_attach_task(path: str, task: Task) -> int:
    """Write a process to cgroup.procs: 0, -ENOENT, -ESRCH for a dead one, or -EBUSY.

    -EBUSY is for a cgroup whose children have the controllers. Charges stay where they are.
    """
    cgrp = cgroup_lookup(path)
    if cgrp is None:
        return -ENOENT
    if not task.alive:
        return -ESRCH
    if cgrp.controls and cgrp.parent is not None:
        return -EBUSY
    oldcgrp = task_cgroup(task)
    task.cgroup = cgrp
    cpuset_attach(oldcgrp, cgrp, task)
    return 0


# ---- control files ----


def cgroup_file_write(path: str, file: str, text: str) -> int:
    """Write to a control file, such as ``hugetlb.2MB.max``: 0 or a negative error number."""
    cgrp = cgroup_lookup(path)
    if cgrp is None or cgrp.parent is None:
        return -ENOENT
    controller, _, name = file.partition(".")
    if controller == "hugetlb" and cgrp.hugetlb is not None:
        return hugetlb_file_write(cgrp.hugetlb, name, text)
    if controller == "memory" and cgrp.memory is not None:
        return memory_file_write(cgrp.memory, name, text)
    return -ENOENT


def cgroup_file_read(path: str, file: str) -> str | int:
    """The text of a control file, or a negative error number."""
    cgrp = cgroup_lookup(path)
    if cgrp is None or cgrp.parent is None:
        return -ENOENT
    controller, _, name = file.partition(".")
    if controller == "hugetlb" and cgrp.hugetlb is not None:
        return hugetlb_file_read(cgrp.hugetlb, name)
    if controller == "memory" and cgrp.memory is not None:
        return memory_file_read(cgrp.memory, name)
    return -ENOENT
