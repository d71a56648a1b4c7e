"""Traces that every run replays first: what a random search meets rarely, and the recordings.

The traces written out here reach, each with its title as a comment, what the built-in series
change: inputs of their conditions, and errors of several parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Final

from equivalence.subjects.hugetlb.corpus import corpus
from models.schema.trace import Trace, parse_trace

_TEXTS: Final = (
    """
    # A free page of a node with surplus is dissolved.
    world nodes=2 nr_hugepages=0 nr_overcommit_hugepages=1
    spawn id=A
    mmap proc=A map=m1 type=shared len=1
    set_node_nr_hugepages node=1 n=2
    dissolve node=0 frame=0
    """,
    """
    # A copy for userfaultfd fails, and so does the retry with the page that was kept.
    world nodes=2 nr_hugepages=4
    spawn id=A
    mmap proc=A map=m1 type=private len=2
    uffd_register proc=A map=m1
    fail_copy what=user_atomic count=1
    fail_copy what=page count=1
    uffd_copy proc=A map=m1 page=0
    munmap proc=A map=m1
    """,
    """
    # An owner breaks copy on write where the subpool has a page reserved (avoids reserves).
    world nodes=2 nr_hugepages=4
    spawn id=A
    mount mount=h0 min_size=2
    open proc=A fd=f1 mount=h0 name=x
    mmap proc=A map=m1 type=private len=1 fd=f1 off=0
    touch_write proc=A map=m1 page=0
    fork proc=A child=B
    touch_write proc=A map=m1 page=0
    """,
    """
    # An owner breaks copy on write without a subpool, while pages are there and when all are used.
    world nodes=2 nr_hugepages=3
    spawn id=A
    mmap proc=A map=m1 type=private len=2
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    fork proc=A child=B
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    """,
    """
    # Fork copies a pinned page: one is there, then none is.
    world nodes=2 nr_hugepages=2
    spawn id=A
    mmap proc=A map=m1 type=private len=1
    touch_write proc=A map=m1 page=0
    pin proc=A pin=p1 map=m1 start=0 len=1
    fork proc=A child=B
    fork proc=A child=C
    """,
    """
    # Fork copies a pinned page of a mapping without reservations: one is there, then none is.
    world nodes=2 nr_hugepages=2
    spawn id=A
    mmap proc=A map=m1 type=private len=1 noreserve=1
    touch_write proc=A map=m1 page=0
    pin proc=A pin=p1 map=m1 start=0 len=1
    fork proc=A child=B
    fork proc=A child=C
    """,
    """
    # A guest without any mapping avoids reserves: a page is there, the subpool has one, none is.
    world nodes=2 nr_hugepages=5
    guest_create guest=v1 len=4 min_size=2 noreserve=1
    guest_alloc guest=v1 page=0 avoid_reserve=1
    guest_alloc guest=v1 page=1 avoid_reserve=1
    guest_alloc guest=v1 page=2 avoid_reserve=1
    guest_alloc guest=v1 page=3 avoid_reserve=1
    set_nr_hugepages n=0
    guest_create guest=v2 len=2 noreserve=1
    guest_alloc guest=v2 page=0 avoid_reserve=1
    """,
    """
    # The same with reservations of its own.
    world nodes=2 nr_hugepages=8
    guest_create guest=v1 len=1 min_size=2 max_size=4
    guest_alloc guest=v1 page=0 avoid_reserve=1
    guest_create guest=v2 len=1 max_size=4
    guest_alloc guest=v2 page=0 avoid_reserve=1
    guest_create guest=v3 len=1 max_size=4
    set_nr_hugepages n=0
    guest_alloc guest=v3 page=0 avoid_reserve=1
    """,
    """
    # Fork copies pinned pages where the subpool has pages reserved.
    world nodes=2 nr_hugepages=10
    spawn id=A
    mount mount=h0 min_size=6
    open proc=A fd=f1 mount=h0 name=x
    mmap proc=A map=m1 type=private len=1 fd=f1 off=0
    mmap proc=A map=m2 type=private len=1 fd=f1 off=1 noreserve=1
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m2 page=0
    pin proc=A pin=p1 map=m1 start=0 len=1
    pin proc=A pin=p2 map=m2 start=0 len=1
    fork proc=A child=B
    """,
    """
    # A cpuset leaves one node: faults with pages on both nodes, with none left there, and moved.
    world nodes=2 nr_hugepages=4
    spawn id=A
    cgroup_create cgroup=g1
    cgroup_attach cgroup=g1 target=A
    cgroup_mems cgroup=g1 nodes=1
    mmap proc=A map=m1 type=private len=2
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    mmap proc=A map=m2 type=private len=1 noreserve=1
    touch_write proc=A map=m2 page=0
    cgroup_mems cgroup=g1 nodes=0
    touch_write proc=A map=m2 page=0
    """,
    """
    # A hole splits a region in two, and there is no memory for the second half.
    world nodes=2 nr_hugepages=9
    spawn id=A
    mount mount=h0 size=4
    open proc=A fd=f1 mount=h0 name=x
    fallocate proc=A fd=f1 off=0 len=4
    fail_kmalloc what=region count=1
    fallocate proc=A fd=f1 off=2 len=1 mode=punch_hole
    memfd_create proc=A fd=f2
    fallocate proc=A fd=f2 off=0 len=3
    fail_kmalloc what=region count=1
    fallocate proc=A fd=f2 off=1 len=1 mode=punch_hole
    """,
    """
    # userfaultfd: pages are filled from memory that cannot be read at once, reserved and not, and
    # filled again.
    world nodes=2 nr_hugepages=6
    spawn id=A
    mmap proc=A map=m1 type=private len=2
    uffd_register proc=A map=m1
    uffd_copy proc=A map=m1 page=0 cold=1
    uffd_copy proc=A map=m1 page=1
    uffd_copy proc=A map=m1 page=1
    mmap proc=A map=m2 type=shared len=2
    touch_write proc=A map=m2 page=0
    uffd_register proc=A map=m2 mode=all
    uffd_continue proc=A map=m2 page=0
    uffd_copy proc=A map=m2 page=1 cold=1
    """,
    """
    # Policies that prefer one node, when its pages are used up.
    world nodes=2 nr_hugepages=2
    spawn id=A
    mmap proc=A map=m1 type=private len=2
    set_mempolicy proc=A mode=preferred_many nodes=1
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    madvise proc=A map=m1 advice=dontneed
    set_mempolicy proc=A mode=preferred nodes=1
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    """,
    """
    # A page with a memory error stays in the pool, and is handed to nobody.
    world nodes=2 nr_hugepages=4 nr_overcommit_hugepages=1
    spawn id=A
    mmap proc=A map=m1 type=private len=4
    hard_offline node=0 frame=0
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    touch_write proc=A map=m1 page=2
    touch_write proc=A map=m1 page=3
    """,
    """
    # Pages of a file are pinned and allocated for that, reserved for somebody else.
    world nodes=2 nr_hugepages=4
    spawn id=A
    memfd_create proc=A fd=f1
    mmap proc=A map=m1 type=shared len=2 fd=f1
    touch_write proc=A map=m1 page=0
    memfd_pin_folios proc=A pin=p1 fd=f1 off=0 len=2
    munmap proc=A map=m1
    """,
    """
    # A fault on a shared file finds its page reserved by another process's mmap() meanwhile.
    world nodes=1 nr_hugepages=3
    schedule choices=6-2/5.1
    spawn id=A
    spawn id=B
    mount mount=h0 size=2
    open proc=A fd=f1 mount=h0 name=x
    open proc=B fd=f2 mount=h0 name=x
    mmap proc=A map=m1 type=shared len=1 fd=f1 noreserve=1
    touch_write proc=A map=m1 page=0
    mmap proc=B map=m2 type=shared len=1 fd=f2
    exit proc=A
    exit proc=B
    set_nr_hugepages n=2
    unlink mount=h0 name=x
    """,
    """
    # No memory for a region of the reservation map while the page is charged to a memory cgroup.
    world nodes=1 nr_hugepages=1 memory_hugetlb_accounting=1
    spawn id=A
    cgroup_create cgroup=g1
    cgroup_attach cgroup=g1 target=A
    mmap proc=A map=m1 type=private len=1
    mmap proc=A map=m2 type=shared len=1
    fail_kmalloc what=region count=1
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=0
    munmap proc=A map=m1
    mmap proc=A map=m2 type=shared len=1
    fail_kmalloc what=region count=1
    touch_write proc=A map=m2 page=0
    touch_write proc=A map=m2 page=0
    exit proc=A
    cgroup_rmdir cgroup=g1
    """,
    """
    # A reserved page comes from the buddy allocator, as the policy excludes the pool's node, and is
    # given back because its contents cannot be copied.
    world nodes=2 nr_hugepages=2 nr_overcommit_hugepages=1
    spawn id=A
    set_node_nr_hugepages node=0 n=0
    mmap proc=A map=m1 type=private len=1
    mbind proc=A map=m1 start=0 len=1 mode=bind nodes=0
    uffd_register proc=A map=m1 mode=missing
    fail_copy what=user count=2
    uffd_copy proc=A map=m1 page=0 len=1 cold=1
    uffd_copy proc=A map=m1 page=0 len=1
    munmap proc=A map=m1
    """,
    """
    # A page with a memory error is in a mapping that fork copies.
    world nodes=1 nr_hugepages=3
    spawn id=A
    mmap proc=A map=m1 type=private len=2
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    madvise proc=A map=m1 advice=hwpoison start=0 len=1
    fork proc=A child=B
    touch_read proc=B map=m1 page=0
    touch_read proc=B map=m1 page=1
    """,
    """
    # A page that userfaultfd protects is in a mapping that fork copies.
    world nodes=1 nr_hugepages=3
    spawn id=A
    mmap proc=A map=m1 type=private len=2
    touch_write proc=A map=m1 page=0
    uffd_register proc=A map=m1 mode=wp
    uffd_writeprotect proc=A map=m1
    touch_write proc=A map=m1 page=0
    fork proc=A child=B
    touch_write proc=B map=m1 page=0
    uffd_writeprotect proc=A map=m1 resolve=1
    touch_write proc=A map=m1 page=0
    """,
    """
    # Pages of a file, mapped for reading in private mappings that userfaultfd protects.
    world nodes=2 nr_hugepages=4
    spawn id=A
    mount mount=h0
    open proc=A fd=f1 mount=h0 name=x
    fallocate proc=A fd=f1 off=0 len=2
    mmap proc=A map=m1 type=private len=2 fd=f1
    touch_read proc=A map=m1 page=0
    uffd_register proc=A map=m1 mode=wp
    uffd_writeprotect proc=A map=m1 start=0 len=1
    touch_write proc=A map=m1 page=0
    uffd_writeprotect proc=A map=m1 start=0 len=1 resolve=1
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=1
    mmap proc=A map=m2 type=private len=2 fd=f1 noreserve=1
    touch_read proc=A map=m2 page=0
    touch_write proc=A map=m2 page=0
    """,
    """
    # The same in a shared mapping, whose entries stay read-only when the protection ends.
    world nodes=1 nr_hugepages=2
    spawn id=A
    mmap proc=A map=m1 type=shared len=2
    touch_write proc=A map=m1 page=0
    uffd_register proc=A map=m1 mode=wp
    uffd_writeprotect proc=A map=m1
    touch_write proc=A map=m1 page=0
    touch_read proc=A map=m1 page=1
    uffd_writeprotect proc=A map=m1 resolve=1
    touch_write proc=A map=m1 page=0
    uffd_unregister proc=A map=m1
    touch_write proc=A map=m1 page=1
    """,
    """
    # The last page goes out of use: its contents move to a temporary page of the same node.
    world nodes=1 nr_hugepages=1
    spawn id=A
    mmap proc=A map=m1 type=private len=1
    touch_write proc=A map=m1 page=0
    soft_offline node=0 frame=0
    touch_read proc=A map=m1 page=0
    """,
    """
    # A surplus page moves to a temporary page of another node.
    world nodes=2 nr_overcommit_hugepages=2
    spawn id=A
    mmap proc=A map=m1 type=private len=1
    touch_write proc=A map=m1 page=0
    migrate_pages proc=A from=0 to=1
    touch_read proc=A map=m1 page=0
    """,
    """
    # Mappings of more than 1 GiB are split: inside, at and beyond what they have of it whole.
    world nodes=1 nr_hugepages=4
    spawn id=A
    mmap proc=A map=m1 type=shared len=1024 noreserve=1
    touch_write proc=A map=m1 page=0
    touch_write proc=A map=m1 page=512
    munmap proc=A map=m1 start=512 len=1
    munmap proc=A map=m1 start=1 len=1
    munmap proc=A map=m1 start=3 len=1
    mmap proc=A map=m2 type=shared len=520 noreserve=1
    touch_write proc=A map=m2 page=514
    munmap proc=A map=m2 start=512 len=1
    mmap proc=A map=m3 type=shared len=520 noreserve=1
    munmap proc=A map=m3 start=1 len=1
    munmap proc=A map=m3 start=510 len=1
    mmap proc=A map=m4 type=private len=512 noreserve=1
    munmap proc=A map=m4 start=1 len=1
    mmap proc=A map=m5 type=shared len=1540 noreserve=1
    munmap proc=A map=m5 start=1 len=1
    munmap proc=A map=m5 start=3 len=1
    mmap proc=A map=m6 type=private len=5 noreserve=1
    munmap proc=A map=m6 start=1 len=1
    munmap proc=A map=m6 start=3 len=1
    """,
    """
    # A page of 1 GiB that somebody has reserved is not demoted, one that is free is.
    world hstates=2M,1G nr_hugepages_1g=1
    spawn id=A
    mmap proc=A map=m1 type=private len=1 size=1G
    demote n=1
    munmap proc=A map=m1
    demote n=1
    """,
    """
    # Fork cannot copy a pinned page, as reading it fails.
    world nodes=1 nr_hugepages=3
    spawn id=A
    mmap proc=A map=m1 type=private len=1
    touch_write proc=A map=m1 page=0
    pin proc=A pin=p1 map=m1
    fail_copy what=page count=1
    fork proc=A child=B
    fork proc=A child=B
    """,
    """
    # The owner takes the page from its child, whose write waits for the page's lock meanwhile.
    world nodes=1 nr_hugepages=1
    schedule choices=4-2/18.1
    spawn id=A
    mmap proc=A map=m1 type=private len=1
    touch_write proc=A map=m1 page=0
    fork proc=A child=B
    touch_write proc=A map=m1 page=0
    touch_write proc=B map=m1 page=0
    touch_write proc=A map=m1 page=0
    """,
    """
    # Tables of 1 GiB that userfaultfd wants to see are unshared; what has none whole has nothing.
    world nodes=1 nr_hugepages=2
    spawn id=A
    mmap proc=A map=m1 type=shared len=1024 noreserve=1
    touch_write proc=A map=m1 page=0
    uffd_register proc=A map=m1 mode=minor
    mmap proc=A map=m2 type=shared len=2 noreserve=1
    uffd_register proc=A map=m2 mode=wp
    mmap proc=A map=m3 type=private len=2 noreserve=1
    uffd_register proc=A map=m3 mode=wp
    """,
)


#: More of them, mostly found by searches, each ended by a blank line.
RARE: Final = "rare.traces"


@cache
def written() -> tuple[Trace, ...]:
    """The traces of this file."""
    return _parsed(_TEXTS)


@cache
def rare() -> tuple[Trace, ...]:
    """Traces of branches and planted bugs that nothing else reaches, from their file."""
    text = files(__package__).joinpath(RARE).read_text(encoding="utf-8")
    # The first part says what the file is.
    return _parsed(text.split("\n\n")[1:])


def _parsed(parts: Iterable[str]) -> tuple[Trace, ...]:
    traces = []
    for part in parts:
        lines = [line.strip() for line in part.strip().splitlines()]
        traces.append(parse_trace("\n".join(["equivcheck-trace/1 hugetlb", *lines])))
    return tuple(traces)


@cache
def recorded() -> tuple[Trace, ...]:
    """The operations of the recordings that come with the product."""
    return tuple(recording.trace() for recording in corpus())
