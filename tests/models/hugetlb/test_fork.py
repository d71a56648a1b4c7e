"""Fork: which pages a child gets, how pinned ones are copied, what a failure leaves."""

from __future__ import annotations

import pytest

from models.hugetlb.structs import HPAGE_RESV_OWNER
from models.kernel.errno import ENOMEM
from models.kernel.pgtable import HWPOISON, MARKER_POISONED, MIGRATION, MIGRATION_EXCLUSIVE
from models.kernel.structs import Pte
from stable import alloc_cgroup, cow_from_owner, fork
from tests.models.steps import World


@pytest.fixture(params=["base", "6.12.117"])
def w(request: pytest.FixtureRequest) -> World:
    """A process with one private page, in both versions of the copy."""
    later = () if request.param == "base" else (cow_from_owner, alloc_cgroup, fork)
    world = World(*later, nodes=1, nr_hugepages=4)
    world.ok(
        "spawn id=A", "mmap proc=A map=m type=private len=2", "touch_write proc=A map=m page=0"
    )
    return world


def test_private_pages_become_read_only_and_shared(w: World) -> None:
    w.ok("fork proc=A child=B")
    folio = w.folio("A", "m")
    assert w.folio("B", "m") is folio
    assert (folio.mapcount, folio.refcount, folio.anon_exclusive) == (2, 2, False)
    assert not w.pte("A", "m").write
    assert not w.pte("B", "m").write
    assert w.task("B").mm.hugetlb_usage == 512
    assert w.pages("B", "m") == ["0", None]
    # The reservation is the parent's alone.
    assert w.vma("A", "m").vm_private_flags == HPAGE_RESV_OWNER
    assert w.vma("B", "m").vm_private_flags == 0
    assert w.vma("B", "m").vm_private_data is None
    assert w.counters == (4, 3, 1, 0)
    assert w.locked() == []


def test_shared_pages_are_left_to_faults(w: World) -> None:
    w.ok(
        "mmap proc=A map=s type=shared len=1",
        "touch_write proc=A map=s page=0",
        "fork proc=A child=B",
    )
    assert w.pages("B", "s") == [None]
    assert w.read("B", "s") == 5
    assert w.folio("B", "s") is w.folio("A", "s")
    assert w.vma("B", "s").vm_private_data is not w.vma("A", "s").vm_private_data


def test_untouched_private_mapping_is_not_copied(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=1 noreserve=1", "fork proc=A child=B")
    assert w.vma("B", "n").anon_vma is None
    assert w.pte("B", "n") is None


def test_child_does_not_inherit_what_it_was_told_not_to(w: World) -> None:
    w.ok("madvise proc=A map=m advice=dontfork", "fork proc=A child=B")
    assert w.task("B").mm.vmas == []
    assert w.signal("touch_read proc=B map=m page=0") == ("SIGSEGV", 1)
    assert w.pte("A", "m").write


def test_pinned_page_is_copied_at_once(w: World) -> None:
    w.ok("pin proc=A pin=p1 map=m start=0 len=1")
    pinned = w.folio("A", "m")
    assert (pinned.pincount, pinned.refcount) == (512, 513)
    w.ok("fork proc=A child=B")
    copy = w.folio("B", "m")
    assert copy is not pinned
    assert (copy.data, copy.mapcount, copy.anon_exclusive) == (3, 1, True)
    # The parent keeps its page, exclusive and writable, for the device.
    assert w.pte("A", "m").write
    assert w.pte("B", "m").write
    assert pinned.anon_exclusive
    assert pinned.mapcount == 1
    # The copy took no reservation.
    assert w.counters == (4, 2, 1, 0)
    assert w.locked() == []


def test_no_page_for_a_pinned_copy_fails_the_fork(w: World) -> None:
    w.ok(
        "mmap proc=A map=n type=private len=2",
        "touch_write proc=A map=n page=0",
        "touch_write proc=A map=n page=1",
        "pin proc=A pin=p1 map=m start=0 len=1",
    )
    assert w.counters == (4, 1, 1, 0)
    # The one free page is reserved.
    assert w.errno("fork proc=A child=B") == "ENOMEM"
    assert "B" not in w.machine.tasks
    assert w.counters == (4, 1, 1, 0)
    assert w.folio("A", "m").mapcount == 1
    assert w.locked() == []
    # Nobody else holds the mapping's lists.
    assert len(w.vma("A", "m").vm_file.f_mapping.i_mmap) == 1


def test_memory_error_in_a_pinned_copy_fails_the_fork(w: World) -> None:
    w.ok("pin proc=A pin=p1 map=m start=0 len=1", "fail_copy what=page count=1")
    assert w.errno("fork proc=A child=B") == "ENOMEM"
    assert w.counters == (4, 3, 1, 0)
    assert w.locked() == []


@pytest.mark.parametrize("what", ["vma", "page_table", "anon_vma"])
def test_failure_half_way_takes_everything_back(w: World, what: str) -> None:
    w.ok(
        "mmap proc=A map=n type=private len=1",
        "touch_write proc=A map=n page=0",
        f"fail_kmalloc what={what} count=1",
    )
    before = w.counters
    assert w.errno("fork proc=A child=B") == "ENOMEM"
    assert w.counters == before
    for name in ("m", "n"):
        assert w.folio("A", name).mapcount == 1
        assert w.vma("A", name).vm_file.f_count == 1
        assert w.vma("A", name).anon_vma.vmas == [w.vma("A", name)]
    assert w.locked() == []


def test_special_entries(w: World) -> None:
    mm = w.task("A").mm
    (address,) = mm.page_table
    slot = mm.page_table[address]
    folio = slot.pte.folio
    for special, write, expected in (
        (HWPOISON, False, Pte(special=HWPOISON)),
        (MARKER_POISONED, False, Pte(special=MARKER_POISONED)),
        (MIGRATION, True, Pte(folio, False, True, True, False, MIGRATION)),
        (MIGRATION_EXCLUSIVE, False, Pte(folio, False, True, True, False, MIGRATION)),
        (MIGRATION, False, Pte(folio, False, True, True, False, MIGRATION)),
    ):
        kept = slot.pte
        migrating = special in (MIGRATION, MIGRATION_EXCLUSIVE)
        slot.pte = (
            Pte(folio, write, True, True, False, special) if migrating else Pte(special=special)
        )
        w.ok("fork proc=A child=B")
        child = w.task("B").mm.page_table[address]
        assert child.pte == expected
        assert w.task("B").mm.hugetlb_usage == 0
        if migrating:
            # Both must find the page read-only.
            assert slot.pte == expected
        child.pte = Pte()
        w.ok("exit proc=B")
        slot.pte = kept


def test_marker_of_write_protection_is_not_inherited(w: World) -> None:
    mm = w.task("A").mm
    (address,) = mm.page_table
    slot = mm.page_table[address]
    kept, slot.pte = slot.pte, w.copy_pte_marker(Pte(special=MARKER_POISONED), None)
    assert slot.pte == Pte(special=MARKER_POISONED)
    slot.pte = kept
    assert w.copy_pte_marker(Pte(special="uffd_wp"), w.vma("A", "m")) == Pte()


def test_grandchild_shares_through_both(w: World) -> None:
    w.ok("fork proc=A child=B", "fork proc=B child=C", "touch_write proc=B map=m page=0")
    assert w.folio("A", "m") is w.folio("C", "m")
    assert w.folio("A", "m").mapcount == 2
    # Its folio can be found through the parent's anon_vma.
    anon_vma = w.folio("A", "m").mapping
    assert {id(vma) for vma in anon_vma.vmas} == {id(w.vma(p, "m")) for p in "ABC"}
    w.ok("exit proc=A", "exit proc=B", "exit proc=C")
    assert w.counters == (4, 4, 0, 0)


def test_error_is_always_enomem() -> None:
    w = World(nr_hugepages=1)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=1", "touch_write proc=A map=m page=0")
    w.ok("pin proc=A pin=p1 map=m")
    task = w.task("A")
    w.machine.current = task
    child = type(task)("B")
    # alloc_hugetlb_folio() says -ENOSPC; copy_mm() makes -ENOMEM of whatever it was.
    assert w.copy_mm(task, child) == -ENOMEM
