"""Unmapping: what happens to the reservation of a private page, in both versions."""

from __future__ import annotations

import pytest

from models.kernel.machine import KernelBug
from models.kernel.pgtable import PTE_MARKER_UFFD_WP
from stable import unmap
from tests.models.steps import SIZE, World


@pytest.fixture(params=["base", "6.12.117"])
def later(request: pytest.FixtureRequest) -> tuple[object, ...]:
    return () if request.param == "base" else (unmap,)


def owner(*later: object, pages: int = 2, pool: int = 4, **world: int) -> World:
    """A process with touched private pages."""
    w = World(*later, nodes=1, nr_hugepages=pool, **world)  # type: ignore[arg-type]
    w.ok("spawn id=A", f"mmap proc=A map=m type=private len={pages}")
    for page in range(pages):
        w.ok(f"touch_write proc=A map=m page={page}")
    return w


def test_dontneed_gives_the_reservation_back(later: tuple[object, ...]) -> None:
    w = owner(*later)
    assert w.counters == (4, 2, 0, 0)
    w.ok("madvise proc=A map=m advice=dontneed start=1 len=1")
    assert w.counters == (4, 3, 1, 0)
    assert w.pages("A", "m") == ["0", None]
    assert w.read("A", "m", 1) == 0
    assert w.counters == (4, 2, 0, 0)
    assert w.locked() == []


def test_pages_of_a_file_keep_their_reservation(later: tuple[object, ...]) -> None:
    w = World(*later, nr_hugepages=4)  # type: ignore[arg-type]
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=shared len=2",
        "touch_write proc=A map=m page=0",
        "madvise proc=A map=m advice=dontneed",
    )
    # The page stays in the page cache.
    assert w.counters == (4, 3, 1, 0)
    assert w.read("A", "m") == 3


def test_with_a_surplus_nothing_is_given_back(later: tuple[object, ...]) -> None:
    w = owner(*later, pages=2, pool=1, nr_overcommit_hugepages=1)
    assert w.counters == (2, 0, 0, 1)
    w.ok("madvise proc=A map=m advice=dontneed")
    # The surplus page went; no reservation came back for either.
    assert w.counters == (1, 1, 0, 0)


def test_page_that_a_child_still_maps_differs() -> None:
    states = []
    for later in ((), (unmap,)):
        w = owner(*later, pages=1)
        w.ok("fork proc=A child=B", "madvise proc=A map=m advice=dontneed")
        states.append((w.counters, w.regions(w.vma("A", "m").vm_private_data)))
    base, stable = states
    # Base: the map lost the page although the child still uses it; 6.12.117: it keeps it.
    assert base == ((4, 3, 0, 0), [])
    assert stable == ((4, 3, 0, 0), [(0, 1)])


def test_request_sticks_for_later_pages_of_the_call_only_in_the_base() -> None:
    for later, expected in (((), [(1, 2)]), ((unmap,), [(1, 3)])):
        w = World(*later, nr_hugepages=6)
        w.ok(
            "mount mount=h0",
            "spawn id=A",
            "open proc=A fd=f mount=h0 name=x",
            "fallocate proc=A fd=f off=0 len=3 mode=none",
            "mmap proc=A map=m type=private len=3 fd=f",
            "touch_write proc=A map=m page=0",
            "touch_write proc=A map=m page=1",
            "touch_read proc=A map=m page=2",
        )
        resv = w.vma("A", "m").vm_private_data
        assert w.regions(resv) == [(0, 2)]
        # Say that page 2, which is the file's, was consumed by a copy before.
        w.hstates[0].resv_huge_pages -= 1
        needed = [0]
        w.region_chg(resv, 2, 3, needed)
        w.region_add(resv, 2, 3, needed[0], None, None)
        assert w.regions(resv) == [(0, 3)]
        # Keep page 1 out of it.
        start = w.task("A").maps["m"].start
        w.machine.current = w.task("A")
        mapping = w.vma("A", "m").vm_file.f_mapping
        moved = w.task("A").mm.page_table.pop(start + SIZE)
        w.i_mmap_lock_write(mapping)
        w.unmap_hugepage_range(w.vma("A", "m"), start, start + 3 * SIZE, None, 0)
        w.i_mmap_unlock_write(mapping)
        w.task("A").mm.page_table[start + SIZE] = moved
        assert w.regions(resv) == expected


def test_reference_page_only(later: tuple[object, ...]) -> None:
    w = owner(*later, pages=3)
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    mapping = vma.vm_file.f_mapping
    w.i_mmap_lock_write(mapping)
    w.unmap_hugepage_range(vma, start, start + 3 * SIZE, w.folio("A", "m", 1), 0)
    w.i_mmap_unlock_write(mapping)
    assert w.pages("A", "m") == ["0", None, "0"]
    assert vma.vm_private_flags & 2


def test_without_memory_for_a_region_the_reservation_stays_consumed(
    later: tuple[object, ...],
) -> None:
    w = owner(*later, pages=1)
    resv = w.vma("A", "m").vm_private_data
    # The map keeps a spare entry for the next change: take it away.
    w.list_del(resv.region_cache.next)
    resv.region_cache_count -= 1
    assert resv.region_cache_count == 0
    w.ok("fail_kmalloc count=1", "madvise proc=A map=m advice=dontneed")
    assert w.machine.fail == {}
    assert w.counters == (4, 4, 0, 0)
    assert w.regions(resv) == [(0, 1)]


def test_marker_of_write_protection_stays_unless_dropped(later: tuple[object, ...]) -> None:
    w = owner(*later, pages=2)
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    table = w.task("A").mm.page_table
    for page in (0, 1):
        slot = table[start + page * SIZE]
        slot.pte = slot.pte._replace(uffd_wp=True, write=False)
    mapping = vma.vm_file.f_mapping
    w.i_mmap_lock_write(mapping)
    w.unmap_hugepage_range(vma, start, start + SIZE, None, 0)
    w.unmap_hugepage_range(vma, start + SIZE, start + 2 * SIZE, None, 1)
    w.i_mmap_unlock_write(mapping)
    assert table[start].pte == PTE_MARKER_UFFD_WP
    assert w.pte("A", "m", 1).special == ""
    assert w.folio("A", "m", 1) is None


def test_pages_are_freed_when_all_are_unmapped(later: tuple[object, ...]) -> None:
    w = owner(*later, pages=3)
    folios = [w.folio("A", "m", page) for page in range(3)]
    w.ok("munmap proc=A map=m")
    free = w.list_entries(w.hstates[0].hugepage_freelists[0])
    # Each goes to the front: the last one unmapped is the first to be used again.
    assert list(free)[:3] == folios[::-1]
    assert w.task("A").mm.hugetlb_usage == 0
    assert w.task("A").mm.page_table == {}


def test_range_must_be_aligned(later: tuple[object, ...]) -> None:
    w = owner(*later)
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    w.i_mmap_lock_write(vma.vm_file.f_mapping)
    with pytest.raises(KernelBug, match="start & ~huge_page_mask"):
        w.unmap_hugepage_range(vma, start + 4096, start + SIZE, None, 0)


def test_lock_of_the_files_vmas_must_be_held(later: tuple[object, ...]) -> None:
    w = owner(*later)
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    with pytest.raises(KernelBug, match="i_mmap_assert_write_locked"):
        w.unmap_hugepage_range(vma, start, start + SIZE, None, 0)
