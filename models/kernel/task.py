# Fidelity: CUSTOM
"""Processes: a name, an address space, open files, a memory policy, a CPU, a cgroup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.kernel.structs import MM, File

if TYPE_CHECKING:
    from models.kernel.mempolicy import MemPolicy


class Task:
    """struct task_struct of a single-threaded process.

    ``slots`` gives each mapping name its address range: the mapping is ``slot * SLOT_SIZE`` bytes
    into the address space, whoever holds it, so that a child knows its parent's mappings by the
    same names (see models/kernel/syscalls).
    """

    __slots__ = (
        "alive",
        "cgroup",
        "cpu",
        "fd_numbers",
        "fds",
        "il_prev",
        "il_weight",
        "maps",
        "mems_allowed",
        "mempolicy",
        "mm",
        "name",
        "task_works",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.mm = MM()
        self.mm.owner = self
        self.alive = True
        self.cpu = 0
        self.fds: dict[str, File] = {}
        #: Descriptor number behind each name: an exiting process closes the lowest first.
        self.fd_numbers: dict[str, int] = {}
        #: Mapping name -> (start address in bytes, length in huge pages when it was made, hstate index).
        self.maps: dict[str, tuple[int, int, int]] = {}
        self.mempolicy: MemPolicy | None = None
        #: Node that interleaving used last, and what is left of its weight.
        self.il_prev = 0
        self.il_weight = 0
        #: Nodes that the cpuset allows (bit mask).
        self.mems_allowed = 0
        self.cgroup: Any = None
        #: Files whose last reference this task dropped: released when it returns to user mode.
        self.task_works: list[File] = []
