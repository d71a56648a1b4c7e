# Fidelity: DUP
"""Hierarchical counters of cgroups (mm/page_counter.c), in base pages of 4096 bytes."""

from __future__ import annotations

from typing import Any, Final

from models.kernel.errno import EBUSY, EINVAL
from models.kernel.machine import warn_on_once
from models.kernel.port import ported
from models.kernel.structs import PAGE_SIZE

PAGE_COUNTER_MAX: Final = ((1 << 63) - 1) // PAGE_SIZE

#: What memparse() multiplies by for a suffix, as a power of two.
SUFFIX_SHIFT: Final = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}


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
    """struct cgroup_subsys_state: its references keep an offline cgroup's counters alive.

    ``cgroup`` is the structure that the controller keeps for the cgroup (container_of in C).
    ``no_ref`` is set for the root, which is never counted. While ``online`` the kernel counts per
    CPU and sees no count below one; it looks when the cgroup is removed.
    """

    __slots__ = ("cgroup", "name", "no_ref", "online", "parent", "refcount")

    def __init__(self, name: str, parent: CgroupSubsysState | None = None) -> None:
        self.name = name
        self.refcount = 1
        self.online = True
        self.no_ref = parent is None
        self.parent = parent
        self.cgroup: Any = None


@ported("include/linux/page_counter.h", "page_counter_read")
def page_counter_read(counter: PageCounter) -> int:
    """Base pages charged to the counter and its descendants."""
    return counter.usage


@ported("mm/page_counter.c", "page_counter_cancel")
def page_counter_cancel(counter: PageCounter, nr_pages: int) -> None:
    """Take base pages off this counter alone; below zero warns and becomes zero."""
    new = counter.usage - nr_pages
    if warn_on_once(new < 0, "page_counter underflow"):
        new = 0
    counter.usage = new


@ported("mm/page_counter.c", "page_counter_charge")
def page_counter_charge(counter: PageCounter, nr_pages: int) -> None:
    """Charge base pages to the counter and its ancestors, whatever their limits."""
    c: PageCounter | None = counter
    while c is not None:
        new = c.usage + nr_pages
        c.usage = new
        if new > c.watermark:
            c.watermark = new
        c = c.parent


@ported("mm/page_counter.c", "page_counter_try_charge")
def page_counter_try_charge(counter: PageCounter, nr_pages: int) -> PageCounter | None:
    """Charge base pages to the counter and its ancestors, or to none of them.

    Returns None when charged, else the counter that is at its limit (in C: false, and that counter
    through a pointer).
    """
    c: PageCounter | None = counter
    while c is not None:
        new = c.usage + nr_pages
        if new > c.max:
            c.failcnt += 1
            fail = c
            c = counter
            while c is not None and c is not fail:
                page_counter_cancel(c, nr_pages)
                c = c.parent
            return fail
        c.usage = new
        if new > c.watermark:
            c.watermark = new
        c = c.parent
    return None


@ported("mm/page_counter.c", "page_counter_uncharge")
def page_counter_uncharge(counter: PageCounter, nr_pages: int) -> None:
    """Take base pages off the counter and its ancestors."""
    c: PageCounter | None = counter
    while c is not None:
        page_counter_cancel(c, nr_pages)
        c = c.parent


@ported("mm/page_counter.c", "page_counter_set_max")
def page_counter_set_max(counter: PageCounter, nr_pages: int) -> int:
    """Set the limit in base pages; -EBUSY when more is charged already."""
    while True:
        usage = page_counter_read(counter)

        if usage > nr_pages:
            return -EBUSY

        old = counter.max
        counter.max = nr_pages

        if page_counter_read(counter) <= usage or nr_pages >= old:
            return 0

        counter.max = old


@ported("lib/cmdline.c", "memparse")
def memparse(text: str) -> tuple[int, str]:
    """A number with an optional suffix K to E, and the text after it (simple_strtoull's rules)."""
    base, digits = 10, "0123456789"
    rest = text
    if rest[:2].lower() == "0x" and rest[2:3].lower() in tuple("0123456789abcdef"):
        base, digits, rest = 16, "0123456789abcdef", rest[2:]
    elif rest[:1] == "0":
        base, digits = 8, "01234567"
    value = 0
    while rest and rest[0].lower() in digits:
        value = value * base + int(rest[0], base)
        rest = rest[1:]
    shift = SUFFIX_SHIFT.get(rest[:1].upper()) if rest else None
    if shift is not None:
        value <<= shift
        rest = rest[1:]
    return value & ((1 << 64) - 1), rest


@ported("mm/page_counter.c", "page_counter_memparse")
def page_counter_memparse(buf: str, max: str) -> int:
    """A limit in base pages from a text in bytes, ``max`` being the largest; or -EINVAL.

    In C the number comes back through a pointer; it is never negative.
    """
    if buf == max:
        return PAGE_COUNTER_MAX

    bytes_, end = memparse(buf)
    if end:
        return -EINVAL

    return min(bytes_ // PAGE_SIZE, PAGE_COUNTER_MAX)
