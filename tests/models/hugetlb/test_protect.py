"""mprotect: entries lose the right to write, and get it back only where they are shared."""

from __future__ import annotations

import pytest

from models.kernel.machine import KernelBug
from models.kernel.pgtable import (
    HWPOISON,
    MARKER_POISONED,
    MARKER_UFFD_WP,
    MIGRATION,
    MIGRATION_EXCLUSIVE,
)
from models.kernel.structs import PTE_NONE, Pte
from tests.models.steps import SIZE, World

WP, RESOLVE = 4, 8


@pytest.fixture
def w() -> World:
    world = World(nodes=1, nr_hugepages=6)
    world.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=3",
        "mmap proc=A map=s type=shared len=2",
        "touch_write proc=A map=m page=1",
        "touch_write proc=A map=s page=0",
    )
    return world


def test_private_entry_needs_a_fault_to_be_written_again(w: World) -> None:
    folio = w.folio("A", "m", 1)
    w.ok("mprotect proc=A map=m start=0 len=3 prot=r")
    assert not w.pte("A", "m", 1).write
    assert w.signal("touch_write proc=A map=m page=1") == ("SIGSEGV", 2)
    w.ok("mprotect proc=A map=m start=0 len=3 prot=rw")
    assert not w.pte("A", "m", 1).write
    w.ok("touch_write proc=A map=m page=1")
    assert w.folio("A", "m", 1) is folio


def test_shared_entry_gets_the_right_back_at_once(w: World) -> None:
    w.ok("mprotect proc=A map=s start=0 len=2 prot=r")
    assert not w.pte("A", "s").write
    w.ok("mprotect proc=A map=s start=0 len=2 prot=rw")
    assert w.pte("A", "s").write


def test_none_keeps_the_page_mapped(w: World) -> None:
    w.ok("mprotect proc=A map=m start=1 len=1 prot=none")
    assert w.pages("A", "m") == [None, "0", None]
    assert w.signal("touch_read proc=A map=m page=1") == ("SIGSEGV", 2)
    assert [vma.vm_end - vma.vm_start for vma in w.task("A").mm.vmas[:3]] == [SIZE] * 3
    w.ok("mprotect proc=A map=m start=1 len=1 prot=r")
    assert w.read("A", "m", 1) == 4


def test_protection_that_is_there_already_splits_nothing(w: World) -> None:
    w.ok("mprotect proc=A map=m start=1 len=1 prot=rw")
    assert len(w.task("A").mm.vmas) == 2


def test_over_several_vmas_and_holes(w: World) -> None:
    w.ok("mprotect proc=A map=m start=1 len=1 prot=r", "mprotect proc=A map=m start=0 len=3 prot=r")
    assert [vma.vm_flags & 2 for vma in w.task("A").mm.vmas] == [0, 0, 0, 2]
    w.ok("munmap proc=A map=m start=1 len=1")
    assert w.errno("mprotect proc=A map=m start=0 len=3 prot=rw") == "ENOMEM"
    # What came before the hole was changed.
    assert [vma.vm_flags & 2 for vma in w.task("A").mm.vmas] == [2, 0, 2]
    assert w.errno("mprotect proc=A map=m start=1 len=1 prot=rw") == "ENOMEM"
    assert w.errno("mprotect proc=A map=m start=2 len=3 prot=rw") == "ENOMEM"
    assert w.locked() == []


def test_length_zero_and_unaligned_start(w: World) -> None:
    w.machine.current = w.task("A")
    start = w.task("A").maps["m"].start
    assert w.sys_mprotect(start, 0, 1) == 0
    assert w.ERRNO_NAMES[-w.sys_mprotect(start + 1, SIZE, 1)] == "EINVAL"
    # Inside a huge page a vma cannot be cut.
    assert w.ERRNO_NAMES[-w.sys_mprotect(start, 4096, 1)] == "EINVAL"
    assert w.locked() == []


def change(w: World, pte: Pte, write: bool, flags: int) -> tuple[Pte, int]:
    """The entry after a change of protection, and the base pages it says it changed."""
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    slot = w.huge_pte_alloc(vma.vm_mm, vma, start, SIZE)
    kept, slot.pte = slot.pte, pte
    pages = w.hugetlb_change_protection(vma, start, start + SIZE, write, flags)
    changed, slot.pte = slot.pte, kept
    return changed, pages


def test_each_kind_of_entry(w: World) -> None:
    anon, file = w.folio("A", "m", 1), w.folio("A", "s")
    assert change(w, PTE_NONE, True, 0) == (PTE_NONE, 0)
    assert change(w, Pte(special=HWPOISON), True, WP) == (Pte(special=HWPOISON), 0)
    poisoned = Pte(special=MARKER_POISONED)
    assert change(w, poisoned, True, WP) == (poisoned, 0)
    marker = Pte(special=MARKER_UFFD_WP)
    assert change(w, marker, True, 0) == (marker, 0)
    assert change(w, marker, True, RESOLVE) == (PTE_NONE, 0)
    assert change(w, PTE_NONE, True, WP) == (marker, 0)
    writable = Pte(anon, True, True, True, False, MIGRATION)
    readable = Pte(anon, False, True, True, False, MIGRATION_EXCLUSIVE)
    assert change(w, writable, False, 0) == (readable, 512)
    assert change(w, writable._replace(folio=file), False, 0) == (
        readable._replace(folio=file, special=MIGRATION),
        512,
    )
    assert change(w, readable, False, WP) == (readable._replace(uffd_wp=True), 0)
    assert change(w, readable._replace(uffd_wp=True), False, RESOLVE) == (readable, 0)
    # A writable entry that is write-protected by userfaultfd loses that when it becomes readable.
    assert change(w, writable._replace(uffd_wp=True), False, 0) == (readable, 512)
    present = Pte(anon, True, True, True)
    assert change(w, present, False, 0) == (present._replace(write=False), 512)
    assert change(w, present, True, WP) == (present._replace(write=False, uffd_wp=True), 512)


def test_write_protection_needs_tables_for_its_markers(w: World) -> None:
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    assert w.pte("A", "m", 0) is None
    w.machine.fail["page_table"] = 1
    assert w.hugetlb_change_protection(vma, start, start + SIZE, True, WP) == -12
    assert w.hugetlb_change_protection(vma, start, start + SIZE, True, WP) == 0
    assert w.pte("A", "m", 0).special == MARKER_UFFD_WP
    assert w.locked() == []


def test_empty_range_is_a_bug(w: World) -> None:
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    with pytest.raises(KernelBug, match="address >= end"):
        w.hugetlb_change_protection(vma, start, start, True, 0)
