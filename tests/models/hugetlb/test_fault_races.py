"""Faults while somebody else changes the page table, and failures in every step of one.

The other task is a hook on the locks: it acts just before a lock is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.kernel.machine import KernelBug, KernelDeadlock, Unmodelled
from models.kernel.pgtable import HWPOISON, MIGRATION
from models.kernel.structs import PTE_NONE, VM_UFFD_WP, VM_WRITE, Pte
from models.kernel.vmfault import (
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    VM_FAULT_HWPOISON_LARGE,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
)
from models.schema.trace import parse_line
from stable import alloc_cgroup, cow_from_owner, fault
from tests.models.steps import SIZE, World


@pytest.fixture(params=["base", "6.12.117"])
def w(request: pytest.FixtureRequest) -> Iterator[World]:
    """A process with a private mapping, a file, and a private mapping of the file's page."""
    later = () if request.param == "base" else (cow_from_owner, alloc_cgroup, fault)
    world = World(*later, nodes=1, nr_hugepages=8)
    world.ok(
        "mount mount=h0",
        "spawn id=A",
        "mmap proc=A map=m type=private len=2",
        "open proc=A fd=f mount=h0 name=x",
        "fallocate proc=A fd=f off=0 len=1 mode=none",
        "mmap proc=A map=p type=private len=1 fd=f",
        "mmap proc=A map=s type=shared len=1",
        "touch_write proc=A map=m page=0",
    )
    world.machine.current = world.task("A")
    yield world
    assert world.locked() == []


def address(w: World, name: str, page: int = 0) -> int:
    start: int = w.task("A").maps[name].start
    return start + page * SIZE


def fault_at(w: World, name: str, page: int = 0, flags: int = FAULT_FLAG_WRITE) -> int:
    """Fault once; VM_FAULT_* bits without the index of an hstate."""
    result: int = w.handle_mm_fault(w.vma("A", name, page), address(w, name, page), flags)
    return result & 0xFFFF


def slot(w: World, name: str, page: int = 0) -> Any:
    vma = w.vma("A", name, page)
    return w.huge_pte_alloc(vma.vm_mm, vma, address(w, name, page), SIZE)


def on(w: World, kind: str, lock: str, act: Callable[[], None], after: int = 0) -> None:
    """Act once, before the lock is taken or released; ``after`` so many times."""
    left = [after]

    def hook(what: str, which: Any) -> None:
        if what == kind and getattr(which, "name", "") == lock:
            if left[0]:
                left[0] -= 1
                return
            w.machine.lock_hook = None
            act()

    w.machine.lock_hook = hook


def put(w: World, name: str, pte: Pte, page: int = 0) -> Callable[[], None]:
    """An action that writes an entry."""
    at = slot(w, name, page)

    def act() -> None:
        at.pte = pte

    return act


def test_entry_filled_meanwhile_backs_out_with_the_reservation(w: World) -> None:
    before = w.counters
    marker = Pte(special="uffd_wp")
    on(w, "spin_lock", "ptl", put(w, "m", marker, 1))
    assert fault_at(w, "m", 1) == 0
    assert w.pte("A", "m", 1) == marker
    assert w.counters == before
    assert w.regions(w.vma("A", "m").vm_private_data) == [(0, 1)]


def test_entry_filled_meanwhile_leaves_a_new_page_in_the_cache(w: World) -> None:
    marker = Pte(special="uffd_wp")
    on(w, "spin_lock", "ptl", put(w, "s", marker))
    assert fault_at(w, "s") == 0
    (folio,) = w.vma("A", "s").vm_file.f_mapping.pages.values()
    assert (folio.refcount, folio.mapcount, folio.locked) == (512, 0, False)


def test_no_page_is_no_error_when_the_entry_was_filled(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=9 noreserve=1", "set_nr_hugepages n=0")
    w.machine.current = w.task("A")
    for page in range(8):
        if w.counters[1] <= w.counters[2]:
            break
        w.touch(w.task("A"), address(w, "n", page), True, 1)
    assert fault_at(w, "n", 8) == VM_FAULT_SIGBUS
    on(w, "spin_lock", "ptl", put(w, "n", Pte(special="uffd_wp"), 8))
    assert fault_at(w, "n", 8) == 0


def test_region_that_fails_after_the_page_was_allocated(w: World) -> None:
    before = w.counters
    # The page's own region is taken; the probe for a copy then finds no memory.
    on(w, "spin_lock", "hugetlb_lock", lambda: w.machine.fail.update(kmalloc_region=1))
    resv = w.vma("A", "m").vm_private_data
    while resv.region_cache_count > 1:
        w.list_del(resv.region_cache.next)
        resv.region_cache_count -= 1
    assert fault_at(w, "m", 1) == VM_FAULT_OOM
    assert w.machine.fail == {}
    assert w.counters == before
    assert resv.adds_in_progress == 0


def test_no_memory_for_an_anon_vma(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=1 noreserve=1", "fail_kmalloc what=anon_vma count=1")
    w.machine.current = w.task("A")
    assert fault_at(w, "n") == VM_FAULT_OOM
    # Before a copy of a file's page: the new page goes back, and its reservation with it.
    before = w.counters
    w.machine.fail["kmalloc_anon_vma"] = 1
    assert fault_at(w, "p") == VM_FAULT_OOM
    assert w.counters == before
    assert w.regions(w.vma("A", "p").vm_private_data) == []
    assert w.folio("A", "p").mapcount == 1


def test_no_memory_for_a_table(w: World) -> None:
    w.machine.fail["page_table"] = 1
    assert fault_at(w, "m", 1) == VM_FAULT_OOM


def test_page_cache_that_refuses_the_page(w: World) -> None:
    mapping = w.vma("A", "s").vm_file.f_mapping
    other = w.folio("A", "m")
    before = w.counters
    on(w, "spin_lock", "hugetlb_lock", lambda: mapping.pages.update({0: other}))
    assert fault_at(w, "s") == VM_FAULT_SIGBUS
    del mapping.pages[0]
    assert w.counters == before


def test_copy_that_lost_the_race_gives_its_page_back(w: World) -> None:
    assert w.read("A", "p") == 0
    w.machine.current = w.task("A")
    before = w.counters
    file_page = w.folio("A", "p")
    changed = w.pte("A", "p")._replace(dirty=True)
    # First the fault looks at the entry, then the copy is to be put in.
    on(w, "spin_lock", "ptl", put(w, "p", changed), after=1)
    assert fault_at(w, "p") == 0
    assert w.pte("A", "p") == changed
    assert file_page.mapcount == 1
    assert w.counters == before
    assert w.regions(w.vma("A", "p").vm_private_data) == []


def test_fault_that_lost_the_race_before_it_began(w: World) -> None:
    assert w.read("A", "p") == 0
    w.machine.current = w.task("A")
    changed = w.pte("A", "p")._replace(dirty=True)
    on(w, "spin_lock", "ptl", put(w, "p", changed))
    assert fault_at(w, "p") == 0
    assert w.pte("A", "p") == changed


def test_entry_that_changed_while_the_page_was_taken_from_children(w: World) -> None:
    w.ok("fork proc=A child=B", "set_nr_hugepages n=0")
    w.machine.current = w.task("A")
    assert w.counters[1] == w.counters[2]
    on(w, "down_write", "i_mmap_rwsem", put(w, "m", PTE_NONE))
    folio = w.folio("A", "m")
    assert fault_at(w, "m") == 0
    assert w.pte("A", "m") == PTE_NONE
    slot(w, "m").pte = Pte(folio, young=True)
    assert w.pages("B", "m") == [None, None]


def test_unsharing_leaves_the_entry_read_only(w: World) -> None:
    w.ok("fork proc=A child=B")
    w.machine.current = w.task("A")
    shared = w.folio("A", "m")
    assert fault_at(w, "m", flags=FAULT_FLAG_UNSHARE) == 0
    assert w.folio("A", "m") is not shared
    assert w.folio("A", "m").anon_exclusive
    assert not w.pte("A", "m").write
    # Alone with it: only the mark is set.
    w.ok("exit proc=A")
    w.machine.current = w.task("B")
    task = w.task("B")
    start = task.maps["m"].start
    assert not shared.anon_exclusive
    assert w.handle_mm_fault(w.vma_lookup(task.mm, start), start, FAULT_FLAG_UNSHARE) == 0
    assert w.folio("B", "m") is shared
    assert shared.anon_exclusive
    assert not w.pte("B", "m").write


def test_write_to_what_may_not_be_written_warns(w: World) -> None:
    assert w.read("A", "p") == 0
    vma = w.vma("A", "p")
    vma.vm_flags &= ~VM_WRITE
    assert fault_at(w, "p") == VM_FAULT_SIGSEGV
    assert len(w.machine.warnings) == 1
    w.machine.warnings.clear()


def test_exclusive_page_that_two_map_is_a_bug(w: World) -> None:
    folio = w.folio("A", "m")
    at = slot(w, "m")
    at.pte = at.pte._replace(write=False)
    folio.mapcount = 2
    with pytest.raises(KernelBug, match="PageAnonExclusive"):
        fault_at(w, "m")
    # A dead system keeps its locks.
    w.machine.current = None
    w.__dict__["system"] = World(nr_hugepages=1).system


def test_locked_page_puts_the_fault_off(w: World) -> None:
    at = slot(w, "m")
    at.pte = at.pte._replace(write=False)
    folio = w.folio("A", "m")
    folio.locked = True
    with pytest.raises(KernelDeadlock, match="folio_wait_locked"):
        fault_at(w, "m")
    assert w.locked() == []

    def unlock(what: str, which: Any) -> None:
        if what == "wait":
            folio.locked = False

    w.machine.lock_hook = unlock
    assert fault_at(w, "m") == 0
    # The next one may write.
    assert not w.pte("A", "m").write
    w.machine.lock_hook = None
    assert fault_at(w, "m") == 0
    assert w.pte("A", "m").write


def test_entries_that_are_not_present(w: World) -> None:
    at = slot(w, "m", 1)
    at.pte = Pte(special=HWPOISON)
    assert fault_at(w, "m", 1) == VM_FAULT_HWPOISON_LARGE
    at.pte = Pte(w.folio("A", "m"), special=MIGRATION)
    # The folio is not locked: the migration is over by the time one would wait.
    assert fault_at(w, "m", 1) == 0
    w.folio("A", "m").locked = True
    with pytest.raises(KernelDeadlock, match="nobody migrates"):
        fault_at(w, "m", 1)
    w.folio("A", "m").locked = False
    at.pte = PTE_NONE


def test_write_protection_of_userfaultfd(w: World) -> None:
    vma, at = w.vma("A", "m"), slot(w, "m")
    w.ok("uffd_register proc=A map=m mode=wp")
    w.machine.current = w.task("A")
    assert vma.vm_flags & VM_UFFD_WP
    at.pte = at.pte._replace(write=False, uffd_wp=True)
    assert fault_at(w, "m") == VM_FAULT_SIGBUS
    # A read, and a copy on the way from no_page, leave it alone.
    assert fault_at(w, "m", flags=0) == 0
    assert at.pte.uffd_wp
    w.task("A").uffd.features = 0
    with pytest.raises(Unmodelled):
        fault_at(w, "m")
    # A marker makes the new page write-protected.
    slot(w, "m", 1).pte = Pte(special="uffd_wp")
    assert fault_at(w, "m", 1) == 0
    assert (w.pte("A", "m", 1).uffd_wp, w.pte("A", "m", 1).write) == (True, False)


def test_missing_and_minor_pages_that_came_meanwhile(w: World) -> None:
    w.ok("uffd_register proc=A map=m mode=missing", "uffd_register proc=A map=p mode=minor")
    w.machine.current = w.task("A")
    for name, page in (("m", 1), ("p", 0)):
        on(w, "spin_lock", "ptl", put(w, name, Pte(special="uffd_wp"), page))
        assert fault_at(w, name, page) == 0
        slot(w, name, page).pte = PTE_NONE
        assert fault_at(w, name, page) == VM_FAULT_SIGBUS


@pytest.mark.parametrize("later", [(), (cow_from_owner, alloc_cgroup, fault)])
def test_owner_never_finds_the_page_of_a_child_that_moved_it(later: tuple[Any, ...]) -> None:
    """unmap_ref_private() looks in the children at the owner's address, and hugetlb_wp() tries
    again for as long as somebody maps the page: both versions of the kernel loop for ever."""
    w = World(*later, nodes=1, nr_hugepages=1)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1",
        "touch_write proc=A map=m page=0",
        "fork proc=A child=B",
        "mremap proc=B map=m start=0 len=1 new_len=1 to=n",
    )
    outcome = w.system.apply(parse_line("touch_write proc=A map=m page=0"))
    assert outcome.ending == "hang"
