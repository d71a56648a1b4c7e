# Fidelity: CUSTOM
"""Processes: a name, an address space, open files, a memory policy, a CPU, a cgroup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from models.kernel.structs import MM, File

if TYPE_CHECKING:
    from models.kernel.gup import PinnedBuffer
    from models.kernel.mempolicy import MemPolicy
    from models.kernel.userfaultfd import UserfaultfdCtx


class Mapping(NamedTuple):
    """What a trace knows of a named mapping: ``start`` in bytes, ``pages`` in huge pages of hstate
    ``hstate`` when it was made, and a bit mask of the pages that are no longer part of it."""

    start: int
    pages: int
    hstate: int
    lost: int = 0


class Task:
    """struct task_struct of a single-threaded process.

    ``maps`` are the mappings by the names that a trace gave them; each has an address range of its
    own, and a child knows its parent's mappings by the same names.
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
        "pins",
        "task_works",
        "uffd",
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
        self.maps: dict[str, Mapping] = {}
        self.mempolicy: MemPolicy | None = None
        #: Node that interleaving used last, and what is left of its weight.
        self.il_prev = 0
        self.il_weight = 0
        #: Nodes that the cpuset allows (bit mask).
        self.mems_allowed = 0
        self.cgroup: Any = None
        #: Files whose last reference this task dropped: released when it returns to user mode.
        self.task_works: list[File] = []
        #: Buffers that are pinned until they are unregistered, at the latest at exit.
        self.pins: dict[str, PinnedBuffer] = {}
        #: The context of its userfaultfd, if it has registered a range.
        self.uffd: UserfaultfdCtx | None = None
