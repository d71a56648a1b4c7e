"""The models linked as one system, for tests that call single functions of the kernel.

Every module of models.kernel and models.hugetlb is linked; what only a series defines is absent,
and fails when it is called.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import FunctionType, SimpleNamespace
from typing import Any

import models.hugetlb
import models.kernel
from equivalence.series import Step, collect
from models.kernel.task import Task

NODE_MB = 64


@cache
def step() -> Step:
    """All modules of the models as one step; nothing is checked but double definitions."""
    modules = [
        importlib.import_module(f"{package.__name__}.{info.name}")
        for package in (models.kernel, models.hugetlb)
        for info in pkgutil.iter_modules(package.__path__)
    ]
    symbols = collect(modules)
    return Step("models", 0, "models", symbols.table, symbols.data)


class Kernel:
    """One booted system: ``k.region_add(...)`` calls, ``k.hstates`` reads a global variable."""

    def __init__(
        self,
        *,
        nodes: int = 2,
        cgroups: bool = True,
        accounting: bool = False,
        linked: Step | None = None,
    ) -> None:
        linked = linked or step()
        self.names = linked.instantiate()
        for name, value in linked.table.items():
            if isinstance(value, FunctionType) and getattr(value, "__static_data__", False):
                self.names[name]()
        self.boot_memory([NODE_MB] * nodes)
        self.hugetlb_add_hstate(9)
        self.hugetlb_add_hstate(18)
        self.hugetlb_init_hstates()
        if cgroups:
            self.cgroup_init(accounting)
        self.task = Task("A")
        self.names["machine"].current = self.task
        self.names["machine"].tasks["A"] = self.task

    def __getattr__(self, name: str) -> Any:
        return self.names[name]

    @property
    def h(self) -> Any:
        """The hstate of 2 MiB pages."""
        return self.default_hstate()

    def fail(self, point: str, times: int = 1) -> None:
        """Let the next calls at a failure point fail."""
        self.names["machine"].fail[point] = times

    def pool(self, pages: int, overcommit: int = 0) -> None:
        """Set the pool's size and its overcommit, in huge pages."""
        self.h.nr_overcommit_huge_pages = overcommit
        self.set_max_huge_pages(self.h, pages, -1, self.node_states[1])

    def counters(self) -> tuple[int, int, int, int]:
        """nr, free, resv, surplus of the 2 MiB pool."""
        h = self.h
        return h.nr_huge_pages, h.free_huge_pages, h.resv_huge_pages, h.surplus_huge_pages

    def regions(self, resv: Any) -> list[tuple[int, int]]:
        """The regions of a reservation map."""
        return [(rg.from_, rg.to) for rg in self.list_entries(resv.regions)]

    def inode(self, spool: Any = None) -> Any:
        """As much of an inode as reservations look at."""
        return SimpleNamespace(
            i_sb=SimpleNamespace(hstate=self.h, spool=spool),
            resv_map=self.resv_map_alloc(),
            i_blocks=0,
            i_lock=self.Lock("i_lock"),
        )
