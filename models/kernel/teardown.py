# Fidelity: CUSTOM
"""The tail of a recorded trace: what is left once everything was torn down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.hugetlb.hstate import default_hstate
from models.kernel.readout import read_pool
from models.kernel.syscalls import (
    op_cgroup_rmdir,
    op_set_nr_hugepages,
    op_set_nr_overcommit_hugepages,
)
from models.kernel.syscalls_extra import op_guest_destroy
from models.kernel.syscalls_file import op_shm_rmid, op_umount
from models.kernel.syscalls_memory import op_exit

if TYPE_CHECKING:
    from models.kernel.cgroup import cgroup_root
    from models.kernel.fs import mounts
    from models.kernel.guest import guests
    from models.kernel.machine import machine
    from models.kernel.shm import shm_ids


def read_totals() -> dict[str, int]:
    """The pool's counters but for the overcommit limit."""
    pool = read_pool(default_hstate())
    del pool["overcommit"]
    return pool


def tear_down() -> dict[str, Any]:
    """Kill all processes, remove SysV segments, unmount, remove cgroups, and empty the pool.

    Returns the tail of a trace: ``busy`` counts mounts and cgroups that stayed, ``idle`` is the
    pool then and ``empty`` the pool after overcommit and size were set to 0, in huge pages.
    """
    busy = 0
    for name in list(machine.tasks):
        op_exit({"proc": name})
    for name in list(guests):
        op_guest_destroy({"guest": name})
    for name in list(shm_ids):
        op_shm_rmid({"shm": name})
    for name in list(mounts):
        busy += op_umount({"mount": name}).ret != 0
    for name in reversed(list(cgroup_root.children)):
        busy += op_cgroup_rmdir({"cgroup": name}).ret != 0
    idle = read_totals()
    op_set_nr_overcommit_hugepages({"n": 0})
    op_set_nr_hugepages({"n": 0})
    empty = read_totals()
    clean = (
        busy == 0
        and idle["nr"] == idle["free"]
        and idle["resv"] == idle["surplus"] == 0
        and not any(empty.values())
    )
    return {"end": True, "clean": clean, "busy": busy, "idle": idle, "empty": empty}
