"""Small worlds of HugeTLB that can be explored whole, each around one part of the logic.

Operations are chosen so that a world has some thousand to some ten thousand states: enough that the
counters reach zero, exactly enough and one short in every combination. A mapping has one name for
each shape, so that no operation of a world can ever run into a mapping of another shape.
"""

from __future__ import annotations

from typing import Final

from equivalence.explorer import SmallWorld
from models.schema.trace import Op, parse_line


def _ops(text: str) -> tuple[Op, ...]:
    return tuple(parse_line(line.strip()) for line in text.strip().splitlines())


TIGHT: Final = SmallWorld(
    "tight",
    "two pages on one node: private and shared mappings compete, the pool shrinks and grows",
    {"nodes": 1, "nr_hugepages": 2},
    _ops(
        """
        mmap proc=A map=m1 type=private len=1
        mmap proc=A map=m1 type=shared len=1
        mmap proc=A map=m2 type=private len=2
        mmap proc=A map=m2 type=private len=1 noreserve=1
        touch_write proc=A map=m1 page=0
        touch_read proc=A map=m1 page=0
        touch_write proc=A map=m2 page=0
        touch_write proc=A map=m2 page=1
        madvise proc=A map=m2 advice=dontneed
        munmap proc=A map=m1
        munmap proc=A map=m2
        set_nr_hugepages n=1
        set_nr_hugepages n=2
        """
    ),
    _ops("spawn id=A"),
)

NODES: Final = SmallWorld(
    "nodes",
    "one page on each of two nodes: policies decide which node a page may come from",
    {"nodes": 2, "nr_hugepages": 2},
    _ops(
        """
        set_mempolicy proc=A mode=bind nodes=0
        set_mempolicy proc=A mode=preferred nodes=1
        set_mempolicy proc=A mode=interleave nodes=0,1
        set_mempolicy proc=A mode=preferred_many nodes=1
        set_mempolicy proc=A mode=default
        mmap proc=A map=m1 type=private len=2
        mmap proc=A map=m2 type=shared len=1
        mbind proc=A map=m2 start=0 len=1 mode=bind nodes=1
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m1 page=1
        touch_write proc=A map=m2 page=0
        munmap proc=A map=m1
        munmap proc=A map=m2
        """
    ),
    _ops("spawn id=A"),
)

MIN_SIZE: Final = SmallWorld(
    "min-size",
    "a mount that holds two of three pages back; a file of it against an anonymous mapping",
    {"nodes": 1, "nr_hugepages": 3},
    _ops(
        """
        mount mount=h0 min_size=2
        umount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        close proc=A fd=f1
        mmap proc=A map=m1 type=shared len=2 fd=f1
        mmap proc=A map=m3 type=shared len=1 fd=f1 off=2 noreserve=1
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m3 page=0
        munmap proc=A map=m1
        munmap proc=A map=m3
        fallocate proc=A fd=f1 off=0 len=1 mode=punch_hole
        """
    ),
    _ops("spawn id=A"),
)

SIZE: Final = SmallWorld(
    "size",
    "a mount limited to two of three pages; shared, private and unreserved mappings of a file",
    {"nodes": 1, "nr_hugepages": 3},
    _ops(
        """
        open proc=A fd=f1 mount=h0 name=x
        close proc=A fd=f1
        mmap proc=A map=m1 type=shared len=2 fd=f1
        mmap proc=A map=m2 type=private len=1 fd=f1
        touch_write proc=A map=m1 page=0
        touch_read proc=A map=m2 page=0
        touch_write proc=A map=m2 page=0
        munmap proc=A map=m1
        munmap proc=A map=m2
        ftruncate proc=A fd=f1 len=0
        fallocate proc=A fd=f1 off=0 len=2
        """
    ),
    _ops("spawn id=A\nmount mount=h0 size=2"),
)

FORK: Final = SmallWorld(
    "fork",
    "a private mapping shared by fork: copies on write with and without reservations",
    {"nodes": 1, "nr_hugepages": 3},
    _ops(
        """
        mmap proc=A map=m1 type=private len=2
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m1 page=1
        touch_write proc=B map=m1 page=0
        touch_write proc=B map=m1 page=1
        fork proc=A child=B
        exit proc=B
        munmap proc=A map=m1
        munmap proc=B map=m1
        """
    ),
    _ops("spawn id=A"),
)

PUNCH: Final = SmallWorld(
    "punch",
    "two processes share a file in which holes are punched under their mappings",
    {"nodes": 1, "nr_hugepages": 3},
    _ops(
        """
        mmap proc=A map=m1 type=shared len=2 fd=f1
        mmap proc=B map=m2 type=private len=2 fd=f2
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m1 page=1
        touch_read proc=B map=m2 page=0
        touch_write proc=B map=m2 page=0
        munmap proc=A map=m1
        munmap proc=B map=m2
        fallocate proc=A fd=f1 off=0 len=1 mode=punch_hole
        fallocate proc=A fd=f1 off=1 len=1
        madvise proc=A map=m1 advice=remove start=0 len=2
        """
    ),
    _ops(
        """
        spawn id=A
        spawn id=B
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        open proc=B fd=f2 mount=h0 name=x
        """
    ),
)

OVERCOMMIT: Final = SmallWorld(
    "overcommit",
    "one page in the pool, two more on demand, and allocations that fail",
    {"nodes": 1, "nr_hugepages": 1},
    _ops(
        """
        set_nr_overcommit_hugepages n=0
        set_nr_overcommit_hugepages n=2
        set_nr_hugepages n=0
        fail_buddy node=0 count=1
        mmap proc=A map=m1 type=private len=2
        mmap proc=A map=m2 type=private len=1 noreserve=1
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m1 page=1
        touch_write proc=A map=m2 page=0
        munmap proc=A map=m1
        munmap proc=A map=m2
        """
    ),
    _ops("spawn id=A"),
)

CGROUP: Final = SmallWorld(
    "cgroup",
    "a process in and out of a cgroup whose limits are below the pool",
    {"nodes": 1, "nr_hugepages": 2},
    _ops(
        """
        cgroup_rmdir cgroup=g1
        cgroup_attach cgroup=g1 target=A
        cgroup_attach cgroup=/ target=A
        cgroup_set cgroup=g1 file=rsvd.max value=1
        cgroup_set cgroup=g1 file=max value=1
        mmap proc=A map=m1 type=private len=1
        mmap proc=A map=m2 type=shared len=1
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m2 page=0
        munmap proc=A map=m1
        munmap proc=A map=m2
        """
    ),
    _ops("spawn id=A\ncgroup_create cgroup=g1"),
)

GIGANTIC: Final = SmallWorld(
    "gigantic",
    "pages of 2 MiB and 1 GiB beside each other, the large ones demoted to small ones",
    {
        "nodes": 1,
        "hstates": "2M,1G",
        "node_mb": 2048,
        "nr_hugepages": 1,
        "nr_hugepages_1g": 1,
    },
    _ops(
        """
        mmap proc=A map=m1 type=private len=1
        mmap proc=A map=m2 type=private len=1 size=1G
        touch_write proc=A map=m1 page=0
        touch_write proc=A map=m2 page=0
        munmap proc=A map=m1
        munmap proc=A map=m2
        set_nr_hugepages n=0
        set_nr_hugepages n=0 size=1G
        set_nr_hugepages n=1 size=1G
        demote n=1 size=1G
        """
    ),
    _ops("spawn id=A"),
)

WORLDS: Final = (TIGHT, NODES, MIN_SIZE, SIZE, FORK, PUNCH, OVERCOMMIT, CGROUP, GIGANTIC)
