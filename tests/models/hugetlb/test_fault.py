"""Faults: which page, whose reservation, which signal, and that no lock stays held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models.hugetlb.structs import HPAGE_RESV_OWNER, HPAGE_RESV_UNMAPPED, HPG_MIGRATABLE
from stable import alloc_cgroup, cow_from_owner, fault
from tests.models.steps import World


@pytest.fixture(params=["base", "6.12.117"])
def make(request: pytest.FixtureRequest) -> Iterator[type[World]]:
    """Worlds of both versions of the fault path, which must agree on everything tested here."""
    later = () if request.param == "base" else (cow_from_owner, alloc_cgroup, fault)
    made: list[World] = []

    class Made(World):
        def __init__(self, **world: Any) -> None:
            super().__init__(*later, **world)
            made.append(self)

    yield Made
    for world in made:
        assert world.locked() == []


def test_first_touch_consumes_the_reservation_and_reads_zero(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=2")
    assert w.counters == (2, 2, 2, 0)
    assert w.read("A", "m", 1) == 0
    assert w.counters == (2, 1, 1, 0)
    pte = w.pte("A", "m", 1)
    assert (pte.write, pte.young, pte.folio.mapcount, pte.folio.refcount) == (False, True, 1, 1)
    assert pte.folio.anon_exclusive
    assert pte.folio.hpg & HPG_MIGRATABLE
    assert w.task("A").mm.hugetlb_usage == 512


def test_write_after_read_reuses_the_page(make: type[World]) -> None:
    w = make(nr_hugepages=1)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=1")
    w.read("A", "m")
    folio = w.folio("A", "m")
    w.ok("touch_write proc=A map=m page=0")
    assert w.folio("A", "m") is folio
    assert w.pte("A", "m").write
    assert w.read("A", "m") == 4


def test_no_page_left_is_sigbus_adrerr(make: type[World]) -> None:
    w = make(nr_hugepages=0)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=1 noreserve=1")
    assert w.signal("touch_write proc=A map=m page=0") == ("SIGBUS", 2)
    assert w.signal("touch_read proc=A map=m page=0") == ("SIGBUS", 2)


def test_beyond_the_file_is_sigbus_and_outside_the_mapping_sigsegv(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=m type=shared len=2 fd=f",
        "ftruncate proc=A fd=f len=1",
    )
    assert w.signal("touch_read proc=A map=m page=1") == ("SIGBUS", 2)
    assert w.signal("touch_read proc=A map=m page=2") == ("SIGSEGV", 1)


def test_protection_is_sigsegv_accerr(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=1 prot=r")
    assert w.signal("touch_write proc=A map=m page=0") == ("SIGSEGV", 2)
    assert w.read("A", "m") == 0
    assert w.signal("touch_write proc=A map=m page=0") == ("SIGSEGV", 2)
    w.ok("mmap proc=A map=n type=private len=1 prot=none")
    assert w.signal("touch_read proc=A map=n page=0") == ("SIGSEGV", 2)


def test_shared_pages_are_in_the_page_cache_and_counted(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=m type=shared len=2 fd=f",
        "touch_write proc=A map=m page=1",
    )
    inode = w.task("A").fds["f"].f_inode
    folio = w.folio("A", "m", 1)
    assert inode.i_mapping.pages == {1: folio}
    assert inode.i_blocks == (2 << 20) // 512
    # One reference from the page table, 512 from the page cache.
    assert (folio.refcount, folio.mapcount, folio.locked) == (513, 1, False)
    assert w.pte("A", "m", 1).write


def test_private_write_to_a_file_page_copies_it(make: type[World]) -> None:
    w = make(nr_hugepages=4)
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=s type=shared len=1 fd=f",
        "touch_write proc=A map=s page=0",
        "mmap proc=A map=p type=private len=1 fd=f",
    )
    assert w.read("A", "p") == 5
    assert w.folio("A", "p") is w.folio("A", "s")
    assert w.counters == (4, 3, 1, 0)
    w.ok("touch_write proc=A map=p page=0")
    assert w.folio("A", "p") is not w.folio("A", "s")
    assert (w.read("A", "p"), w.read("A", "s")) == (8, 5)
    # The copy took the reservation of the private mapping.
    assert w.counters == (4, 2, 0, 0)


def test_early_copy_without_a_second_fault(make: type[World]) -> None:
    w = make(nr_hugepages=4)
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=s type=shared len=1 fd=f",
        "touch_write proc=A map=s page=0",
        "mmap proc=A map=p type=private len=1 fd=f",
        "touch_write proc=A map=p page=0",
    )
    assert w.folio("A", "s").mapcount == 1
    assert w.folio("A", "p").mapcount == 1
    assert w.task("A").mm.hugetlb_usage == 1024


def test_copy_carries_the_contents(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1",
        "touch_write proc=A map=m page=0",
        "fork proc=A child=B",
    )
    assert not w.pte("A", "m").write
    assert w.folio("A", "m").mapcount == 2
    w.ok("touch_write proc=B map=m page=0")
    assert (w.read("A", "m"), w.read("B", "m")) == (3, 5)
    # Only one maps the old page now: its next write needs no copy.
    old = w.folio("A", "m")
    w.ok("touch_write proc=A map=m page=0")
    assert w.folio("A", "m") is old


def test_owner_takes_the_page_from_its_child(make: type[World]) -> None:
    w = make(nr_hugepages=1)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1",
        "touch_write proc=A map=m page=0",
        "fork proc=A child=B",
        "touch_write proc=A map=m page=0",
    )
    assert w.read("A", "m") == 5
    assert w.pages("B", "m") == [None]
    assert w.vma("B", "m").vm_private_flags & HPAGE_RESV_UNMAPPED
    assert w.vma("A", "m").vm_private_flags == HPAGE_RESV_OWNER
    # A zero page now would look like lost data.
    assert w.signal("touch_read proc=B map=m page=0") == ("SIGBUS", 2)


def test_child_without_a_page_gets_sigbus_and_changes_nothing(make: type[World]) -> None:
    w = make(nr_hugepages=1)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1",
        "touch_write proc=A map=m page=0",
        "fork proc=A child=B",
    )
    before = w.counters, w.folio("A", "m").refcount
    assert w.signal("touch_write proc=B map=m page=0") == ("SIGBUS", 2)
    assert (w.counters, w.folio("A", "m").refcount) == before
    assert w.read("B", "m") == 3


def test_region_allocation_failure_is_retried_by_the_processor(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=1", "fail_kmalloc count=1")
    assert w.signal("touch_write proc=A map=m page=0") == (None, None)
    assert w.counters == (2, 1, 0, 0)


def test_memory_error_while_copying_gives_the_page_back(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1",
        "touch_write proc=A map=m page=0",
        "fork proc=A child=B",
        "fail_copy what=page count=1",
    )
    # BUS_MCEERR_AR
    assert w.signal("touch_write proc=B map=m page=0") == ("SIGBUS", 4)
    assert w.counters == (2, 1, 0, 0)
    assert w.folio("B", "m") is w.folio("A", "m")


def test_poisoned_marker_is_sigbus_mceerr(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1",
        "uffd_register proc=A map=m",
        "uffd_poison proc=A map=m page=0",
    )
    assert w.signal("touch_read proc=A map=m page=0") == ("SIGBUS", 4)
    assert w.counters == (2, 2, 1, 0)


def test_poisoned_file_page_is_not_mapped(make: type[World]) -> None:
    w = make(nr_hugepages=2)
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "fallocate proc=A fd=f off=0 len=1 mode=none",
        "mmap proc=A map=m type=shared len=1 fd=f",
    )
    folio = w.task("A").fds["f"].f_inode.i_mapping.pages[0]
    folio.hwpoison = True
    assert w.signal("touch_read proc=A map=m page=0") == ("SIGBUS", 4)
    assert (folio.mapcount, folio.refcount) == (0, 512)


def test_mutex_of_a_page_depends_on_file_and_page(make: type[World]) -> None:
    w = make(nr_hugepages=1)
    w.ok("mount mount=h0", "spawn id=A", "open proc=A fd=f mount=h0 name=x")
    mapping = w.task("A").fds["f"].f_inode.i_mapping
    hashes = [w.hugetlb_fault_mutex_hash(mapping, page) for page in range(16)]
    assert sorted(hashes) == list(range(16))
