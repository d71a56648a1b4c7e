"""Failures that need more than one thing to go wrong: moves, migrations, splits of big mappings."""

from __future__ import annotations

from typing import Any

import pytest

from models.hugetlb.structs import HPG_MIGRATABLE
from models.kernel.machine import KernelBug, KernelDeadlock
from models.kernel.mm import MAX_MAP_COUNT
from stable import split
from tests.models.steps import SIZE, World


@pytest.fixture
def w() -> World:
    world = World(nr_hugepages=6)
    world.ok(
        "spawn id=A", "mmap proc=A map=m type=private len=2", "touch_write proc=A map=m page=0"
    )
    world.machine.current = world.task("A")
    return world


# ---- mremap ----


@pytest.mark.parametrize("what", ["kmalloc_vma", "kmalloc_anon_vma"])
def test_move_without_memory_for_a_vma(w: World, what: str) -> None:
    w.machine.fail[what] = 1
    vma = w.vma("A", "m")
    assert w.errno("mremap proc=A map=m start=0 len=2 new_len=2 to=n") == "ENOMEM"
    assert w.task("A").mm.vmas == [vma]
    assert vma.vm_private_data.refs == 1
    assert w.counters == (6, 5, 1, 0)
    assert w.locked() == []


def test_move_near_the_limit_of_vmas(w: World) -> None:
    mm = w.task("A").mm
    (vma,) = mm.vmas
    mm.vmas.extend([vma] * (MAX_MAP_COUNT - 5))
    start = w.task("A").maps["m"].start
    assert w.ERRNO_NAMES[-w.sys_mremap(start, SIZE, SIZE, 3, 1 << 41)] == "ENOMEM"
    mm.vmas.extend([vma] * 4)
    assert w.ERRNO_NAMES[-w.move_vma(vma, start, SIZE, SIZE, 1 << 41)] == "ENOMEM"


def test_place_that_is_taken_is_emptied_first(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=2", "touch_write proc=A map=n page=1")
    w.machine.current = w.task("A")
    source, target = (w.task("A").maps[name].start for name in ("m", "n"))
    assert w.sys_mremap(source, 2 * SIZE, 2 * SIZE, 3, target) == target
    assert w.pages("A", "n") == ["0", None]
    assert w.counters == (6, 5, 1, 0)


def test_keeping_the_source_is_refused(w: World) -> None:
    start = w.task("A").maps["m"].start
    assert w.ERRNO_NAMES[-w.sys_mremap(start, 2 * SIZE, 2 * SIZE, 7, 1 << 41)] == "EINVAL"
    assert w.ERRNO_NAMES[-w.vma_to_resize(start, 0, SIZE, 0)] == "EINVAL"
    assert w.ERRNO_NAMES[-w.vma_to_resize(start, 2 * SIZE, 3 * SIZE, 0)] == "EFAULT"
    w.vma("A", "m").vm_flags = 0
    with pytest.raises(KernelBug, match="without VM_DONTEXPAND"):
        w.vma_to_resize(start, 2 * SIZE, 3 * SIZE, 0)


# ---- migration ----


def test_page_that_was_freed_meanwhile(w: World) -> None:
    isolated = w.ListHead()
    folio = w.folio("A", "m")
    assert w.isolate_hugetlb(folio, isolated)
    w.ok("munmap proc=A map=m")
    assert folio.refcount == 1
    assert w.migrate_pages(isolated, w.MigrationTarget(1, 0, 3)) == 0
    assert w.list_empty(isolated)
    assert w.counters == (6, 6, 0, 0)


def test_page_that_stays_locked(w: World) -> None:
    folio = w.folio("A", "m")
    folio.locked = True
    with pytest.raises(KernelDeadlock):
        w.migrate_to_node(w.task("A").mm, 0, 1)
    # Three passes gave up at once; the fourth waits.
    assert w.counters == (6, 4, 1, 0)


@pytest.mark.parametrize("what", ["vma_lock", "i_mmap_rwsem"])
def test_page_of_a_file_that_is_busy(w: World, what: str) -> None:
    w.ok("mmap proc=A map=s type=shared len=1", "touch_write proc=A map=s page=0")
    w.machine.current = w.task("A")
    vma, folio = w.vma("A", "s"), w.folio("A", "s")
    nid = folio.nid
    mapping = vma.vm_file.f_mapping
    sem = mapping.i_mmap_rwsem if what == "i_mmap_rwsem" else vma.vm_private_data.rw_sema
    isolated = w.ListHead()
    assert w.isolate_hugetlb(folio, isolated)
    sem.readers += 1
    assert w.migrate_pages(isolated, w.MigrationTarget(1 - nid, w.GFP_HIGHUSER_MOVABLE, 3)) == 1
    sem.readers -= 1
    w.putback_movable_pages(isolated)
    assert w.folio("A", "s") is folio
    assert (folio.mapcount, folio.refcount, folio.locked) == (1, 513, False)
    assert folio.hpg & HPG_MIGRATABLE
    assert w.counters == (6, 4, 1, 0)
    assert w.locked() == []


def test_page_that_cannot_migrate_by_its_size(w: World) -> None:
    w.hugepage_migration_supported.__globals__["hugepage_migration_supported"] = never
    isolated = w.ListHead()
    folio = w.folio("A", "m")
    assert w.isolate_hugetlb(folio, isolated)
    assert w.migrate_pages(isolated, w.MigrationTarget(1, 0, 3)) == 1
    assert list(w.list_entries(isolated)) == [folio]
    # Its vma is not looked at by migrate_pages(2).
    assert w.migrate_to_node(w.task("A").mm, 0, 1) == 0


def never(h: Any) -> bool:
    return False


def test_folio_that_nothing_maps_any_more_is_walked_nowhere(w: World) -> None:
    folio = w.list_first_entry(w.hstates[0].hugepage_freelists[0])
    assert w.rmap_vmas(folio) == []


def test_poisoned_page_leaves_its_mark(w: World) -> None:
    folio = w.folio("A", "m")
    folio.hwpoison = True
    folio.locked = True
    w.try_to_migrate(folio, False)
    folio.locked = False
    assert w.pte("A", "m").special == "hwpoison"
    assert w.task("A").mm.hugetlb_usage == 0


# ---- splits ----


@pytest.mark.parametrize("later", [(), (split,)])
def test_tables_that_could_be_shared_are_looked_at(later: tuple[Any, ...]) -> None:
    w = World(*later, nodes=1, nr_hugepages=2, effects=True)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=shared len=1024 noreserve=1",
        "touch_write proc=A map=m page=0",
    )
    w.effects()
    w.ok("mprotect proc=A map=m start=4 len=1020 prot=r")
    log = w.effects()
    # The table's first entry is looked at under its lock, in the split and again in the change.
    assert log.index("spin_lock ptl") < log.index("up_write i_mmap_rwsem")
    assert [vma.vm_end - vma.vm_start for vma in w.task("A").mm.vmas] == [4 * SIZE, 1020 * SIZE]
    assert w.locked() == []


@pytest.mark.parametrize("later", [(), (split,)])
def test_split_of_a_private_mapping_looks_at_no_table(later: tuple[Any, ...]) -> None:
    w = World(*later, nodes=1, nr_hugepages=2, effects=True)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1024 noreserve=1",
        "touch_write proc=A map=m page=0",
    )
    w.effects()
    w.ok("madvise proc=A map=m advice=dontfork start=4 len=4")
    assert "spin_lock ptl" not in w.effects()
    assert len(w.task("A").mm.vmas) == 3
    w.machine.fail["kmalloc_vma"] = 1
    assert w.errno("madvise proc=A map=m advice=dontfork start=1 len=1") == "EAGAIN"
    w.machine.fail["kmalloc_anon_vma"] = 1
    assert w.errno("madvise proc=A map=m advice=dontfork start=1 len=1") == "EAGAIN"
    w.machine.current = w.task("A")
    start = w.task("A").maps["m"].start
    assert w.ERRNO_NAMES[-w.sys_munmap(start + SIZE // 2, SIZE)] == "EINVAL"
    assert w.locked() == []
