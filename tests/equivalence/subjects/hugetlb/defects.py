"""What the base and 6.12.117 break by themselves: minimal traces, and what they come to."""

from __future__ import annotations

from typing import NamedTuple

BOTH = ("base", "6.12.117")


class Defect(NamedTuple):
    """A trace whose last operation breaks what is named, on the steps that are named.

    ``pool`` is nr, free, resv and surplus after it, as unsigned longs; None for an ending from
    which the kernel does not go on. ``search`` is the name under which tools/find_defects.py finds
    it, ``traces`` how many it must draw from seed 0; None where only a recording led to it.
    """

    name: str
    broken: str
    steps: tuple[str, ...]
    trace: str
    pool: tuple[int, int, int, int] | None
    search: str | None = None


MINUS_1 = (1 << 64) - 1

DEFECTS = (
    Defect(
        "noreserve-on-min-size",
        "reservations-add-up",
        BOTH,
        """
        world nr_hugepages=2
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1 noreserve=1
        touch_write proc=A map=m1 page=0
        """,
        (2, 1, 1, 0),
        "reservations-add-up after touch_write",
    ),
    Defect(
        "fallocate-fails-on-min-size",
        "reservations-add-up",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        fallocate proc=A fd=f1 off=0 len=2
        """,
        (1, 0, 0, 0),
        "reservations-add-up after fallocate",
    ),
    Defect(
        "fork-of-a-pin-fails-on-min-size",
        "reservations-add-up",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        pin proc=A pin=p1 map=m1
        fork proc=A child=B
        """,
        (1, 0, 0, 0),
        "reservations-add-up after fork",
    ),
    Defect(
        "munmap-of-a-pin",
        "resv-within-free",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        pin proc=A pin=p1 map=m1
        munmap proc=A map=m1
        """,
        (1, 0, MINUS_1, 0),
        "resv-within-free after munmap",
    ),
    Defect(
        "dontneed-of-a-pin",
        "reservations-add-up",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        pin proc=A pin=p1 map=m1
        madvise proc=A map=m1 advice=dontneed
        """,
        (1, 0, 0, 0),
        "reservations-add-up after madvise",
    ),
    Defect(
        "mremap-of-a-part",
        "reservations-add-up",
        BOTH,
        """
        world nr_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=2
        mremap proc=A map=m1 start=0 len=1 new_len=1 to=m2
        """,
        (2, 2, 2, 0),
        "reservations-add-up after mremap",
    ),
    Defect(
        "min-size-page-goes-to-buddy",
        "resv-within-free",
        BOTH,
        """
        world nr_overcommit_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        touch_write proc=A map=m1 page=0
        munmap proc=A map=m1
        """,
        (0, 0, 1, 0),
        "resv-within-free after munmap",
    ),
    Defect(
        "cold-copy-takes-a-surplus-page",
        "resv-within-free",
        BOTH,
        """
        world nr_overcommit_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=2
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0 cold=1
        """,
        (1, 0, 1, 1),
        "resv-within-free after uffd_copy",
    ),
    Defect(
        "private-page-after-truncation",
        "resv-within-free",
        BOTH,
        """
        world nr_hugepages=3
        spawn id=A
        mmap proc=A map=m2 type=private len=2 populate=1
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        fallocate proc=A fd=f1 off=0 len=2
        ftruncate proc=A fd=f1 len=0
        mmap proc=A map=m1 type=private len=1 fd=f1
        touch_read proc=A map=m1 page=0
        """,
        (3, 0, MINUS_1, 0),
        "resv-within-free after touch_read",
    ),
    Defect(
        "memfd-pin-takes-anothers-reservation",
        "reservations-add-up",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        memfd_pin_folios proc=A pin=p1 fd=f1 len=1
        """,
        (1, 0, 0, 0),
        "reservations-add-up after memfd_pin_folios",
    ),
    Defect(
        "memfd-pin-without-reservation",
        "bug: alloc_hugetlb_folio_reserve: !h->resv_huge_pages in alloc_hugetlb_folio_reserve()"
        " (mm/hugetlb.c)",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        memfd_create proc=A fd=f1
        ftruncate proc=A fd=f1 len=1
        memfd_pin_folios proc=A pin=p1 fd=f1 len=1
        """,
        None,
        "bug: alloc_hugetlb_folio_reserve: !h->resv_huge_pages in alloc_hugetlb_folio_reserve()"
        " (mm/hugetlb.c) after memfd_pin_folios",
    ),
    Defect(
        "punch-under-a-memfd-pin",
        "subpools-in-range",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        memfd_pin_folios proc=A pin=p1 fd=f1 len=1
        fallocate proc=A fd=f1 off=0 len=1 mode=punch_hole
        """,
        (1, 0, 0, 0),
        "subpools-in-range after fallocate",
    ),
    Defect(
        "subpool-freed-under-a-page",
        "crash: spin_lock(spool.lock): use-after-free in hugepage_subpool_put_pages()"
        " (mm/hugetlb.c)",
        BOTH,
        """
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1 noreserve=1
        close proc=A fd=f1
        pin proc=A pin=p1 map=m1
        munmap proc=A map=m1
        umount mount=h0
        exit proc=A
        """,
        None,
    ),
    Defect(
        "owner-writes-for-ever",
        "hang",
        BOTH,
        """
        world nr_hugepages=4
        spawn id=A
        mmap proc=A map=m1 type=private len=2
        touch_write proc=A map=m1 page=0
        fork proc=A child=C
        mremap proc=C map=m1 start=0 len=2 new_len=2 to=m2
        mmap proc=A map=m2 type=private len=2
        touch_write proc=A map=m1 page=0
        """,
        None,
    ),
    Defect(
        "owner-unmaps-after-fork",
        "resv-within-free",
        ("base",),
        """
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        touch_write proc=A map=m1 page=0
        fork proc=A child=B
        munmap proc=A map=m1
        """,
        (1, 0, MINUS_1, 0),
        "resv-within-free after munmap",
    ),
    Defect(
        "addition-in-progress-for-ever",
        "bug: resv_map->adds_in_progress in resv_map_release() (mm/hugetlb.c)",
        ("base",),
        """
        world nr_hugepages=3
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=2 fd=f1
        mmap proc=A map=m2 type=shared len=1 fd=f1 off=1 populate=1
        madvise proc=A map=m1 advice=populate_read
        munmap proc=A map=m1
        """,
        None,
        "bug: resv_map->adds_in_progress in resv_map_release() (mm/hugetlb.c) after munmap",
    ),
)
