# Fidelity: DUP
"""Hierarchical counters of cgroups (mm/page_counter.c), in base pages of 4096 bytes."""

from __future__ import annotations

from typing import Any, Final

PAGE_COUNTER_MAX: Final = (1 << 63) // 4096


class PageCounter:
    """struct page_counter."""

    __slots__ = ("failcnt", "max", "parent", "usage", "watermark")

    def __init__(self, parent: PageCounter | None) -> None:
        self.usage = 0
        self.max = PAGE_COUNTER_MAX
        self.watermark = 0
        self.failcnt = 0
        self.parent = parent


class CgroupSubsysState:
    """struct cgroup_subsys_state: its references keep an offline cgroup's counters alive."""

    __slots__ = ("cgroup", "name", "online", "refcount")

    def __init__(self, name: str) -> None:
        self.name = name
        self.refcount = 1
        self.online = True
        #: The hugetlb cgroup it belongs to (container_of in C).
        self.cgroup: Any = None
