"""Processes: exit and kill give everything back, advice, pins, and what a touch comes to."""

from __future__ import annotations

import pytest

from models.kernel.errno import EAGAIN, EFAULT, EINVAL, ENOMEM
from models.kernel.gup import FOLL_FORCE, FOLL_GET, FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE
from models.kernel.machine import KernelBug, KernelHang
from models.kernel.mman import MADV_DONTNEED, MADV_REMOVE
from tests.models.steps import SIZE, World


@pytest.fixture
def w() -> World:
    world = World(nodes=1, nr_hugepages=6)
    world.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=2",
        "mmap proc=A map=s type=shared len=2",
        "touch_write proc=A map=m page=0",
        "touch_write proc=A map=s page=0",
    )
    return world


# ---- end ----


def test_exit_gives_everything_back(w: World) -> None:
    assert w.counters == (6, 4, 2, 0)
    w.ok("exit proc=A")
    assert w.counters == (6, 6, 0, 0)
    assert w.machine.tasks == {}


def test_kill_is_the_same(w: World) -> None:
    w.ok("kill proc=A")
    assert w.counters == (6, 6, 0, 0)


def test_parent_first_or_child_first(w: World) -> None:
    for first, second in (("A", "B"), ("B", "A")):
        world = World(nodes=1, nr_hugepages=3)
        world.ok(
            "spawn id=A",
            "mmap proc=A map=m type=shared len=2",
            "touch_write proc=A map=m page=0",
            "fork proc=A child=B",
            f"exit proc={first}",
        )
        assert world.counters == (3, 2, 1, 0)
        assert world.read(second, "m") == 3
        world.ok(f"exit proc={second}")
        assert world.counters == (3, 3, 0, 0)


def test_pinned_pages_outlive_the_mapping_until_the_process_unpins_to_exit(w: World) -> None:
    w.ok("pin proc=A pin=p1 map=m start=0 len=1")
    folio = w.folio("A", "m")
    w.ok("fork proc=A child=B", "munmap proc=A map=m")
    assert (folio.refcount, folio.pincount) == (512, 512)
    # The child closed what it had inherited.
    w.ok("exit proc=B")
    assert folio.pincount == 512
    assert w.refused("kill proc=A")
    w.ok("exit proc=A")
    assert (folio.refcount, folio.pincount) == (0, 0)
    assert w.counters == (6, 6, 0, 0)


def test_unpinning_frees_a_page_that_nobody_maps(w: World) -> None:
    w.ok("pin proc=A pin=p1 map=m start=0 len=1", "munmap proc=A map=m")
    # The mapping gave back a reservation for the page, which only now will free it: until then
    # the other mapping's one is missing.
    assert w.counters == (6, 4, 0, 0)
    w.ok("unpin proc=A pin=p1")
    assert w.counters == (6, 5, 1, 0)
    assert w.refused("unpin proc=A pin=p1")


# ---- pins ----


def test_pinning_faults_in_and_breaks_sharing(w: World) -> None:
    w.ok("fork proc=A child=B")
    shared = w.folio("A", "m")
    w.ok("pin proc=B pin=p1 map=m start=0 len=1")
    assert w.folio("B", "m") is not shared
    assert w.folio("B", "m").anon_exclusive
    assert w.task("B").mm.pinned
    assert not w.task("A").mm.pinned
    w.ok("pin proc=A pin=p1 map=m")
    assert [w.folio("A", "m", page).pincount for page in (0, 1)] == [512, 512]
    assert w.locked() == []


def test_pin_is_all_or_nothing(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=6 noreserve=1")
    before = w.counters
    assert before == (6, 4, 2, 0)
    # Two pages can be had, the third cannot.
    assert w.errno("pin proc=A pin=p1 map=n") == "EFAULT"
    assert w.task("A").pins == {}
    assert [w.folio("A", "n", page).pincount for page in (0, 1)] == [0, 0]
    assert w.counters == (6, 2, 2, 0)
    assert w.errno("pin proc=A pin=p1 map=n start=0 len=0") == "EFAULT"
    assert w.errno("pin proc=A pin=p1 map=n start=0 len=8") == "EFAULT"
    w.ok("mprotect proc=A map=m start=0 len=1 prot=r")
    assert w.errno("pin proc=A pin=p1 map=m start=0 len=1") == "EFAULT"
    assert w.locked() == []


def test_pinning_for_reading_unshares(w: World) -> None:
    w.ok("fork proc=A child=B")
    task = w.task("B")
    w.machine.current = task
    start, shared = task.maps["m"].start, w.folio("B", "m")
    pages: list[object] = []
    assert w.pin_user_pages(start, 512, FOLL_LONGTERM, pages) == 512
    assert pages == [w.folio("B", "m")] * 512
    assert w.folio("B", "m") is not shared
    # Unshared, but not writable.
    assert not w.pte("B", "m").write
    assert w.folio("B", "m").data == 4
    w.unpin_user_pages(pages)
    assert w.folio("B", "m").refcount == 1


def test_pin_of_a_part_of_a_huge_page(w: World) -> None:
    w.machine.current = w.task("A")
    pages: list[object] = []
    start = w.task("A").maps["m"].start
    assert w.pin_user_pages(start + SIZE - 2 * 4096, 4, FOLL_WRITE, pages) == 4
    first, second = w.folio("A", "m"), w.folio("A", "m", 1)
    assert pages == [first, first, second, second]
    assert (first.pincount, first.refcount, second.pincount) == (2, 3, 2)
    w.unpin_folio(first)
    assert (first.pincount, first.refcount) == (1, 2)


def test_references_are_taken_as_the_flags_say(w: World) -> None:
    folio = w.folio("A", "m")
    assert w.try_grab_folio(folio, 2, FOLL_GET) == 0
    assert (folio.refcount, folio.pincount) == (3, 0)
    assert w.try_grab_folio(folio, 2, 0) == 0
    w.gup_put_folio(folio, 2, FOLL_GET)
    assert folio.refcount == 1
    folio.refcount = 0
    assert w.try_grab_folio(folio, 1, FOLL_PIN) == -ENOMEM
    assert len(w.machine.warnings) == 1
    folio.refcount = 1


def test_flags_of_a_vma(w: World) -> None:
    vma = w.vma("A", "m")
    assert w.check_vma_flags(vma, FOLL_WRITE) == 0
    vma.vm_flags &= ~3
    assert w.check_vma_flags(vma, 0) == -EFAULT
    assert w.check_vma_flags(vma, FOLL_FORCE) == 0
    assert w.check_vma_flags(vma, FOLL_FORCE | FOLL_WRITE) == -EFAULT


# ---- advice ----


def test_populate_read_maps_read_only_and_write_copies(w: World) -> None:
    w.ok("madvise proc=A map=m advice=populate_read start=1 len=1")
    assert not w.pte("A", "m", 1).write
    w.ok("fork proc=A child=B", "madvise proc=B map=m advice=populate_write start=0 len=1")
    assert w.folio("B", "m") is not w.folio("A", "m")
    assert w.read("B", "m") == 4


def test_populate_errors(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=6 noreserve=1")
    assert w.errno("madvise proc=A map=n advice=populate_write") == "EFAULT"
    assert w.pages("A", "n") == ["0", "0", None, None, None, None]
    w.ok("mprotect proc=A map=m start=0 len=2 prot=r", "munmap proc=A map=m start=1 len=1")
    assert w.errno("madvise proc=A map=m advice=populate_write start=0 len=1") == "EINVAL"
    assert w.errno("madvise proc=A map=m advice=populate_read start=1 len=1") == "ENOMEM"
    w.ok("uffd_register proc=A map=s", "uffd_poison proc=A map=s page=1")
    assert w.errno("madvise proc=A map=s advice=populate_read start=1 len=1") == "EHWPOISON"
    w.ok("fail_kmalloc what=page_table count=1", "mmap proc=A map=t type=shared len=1 noreserve=1")
    assert w.errno("madvise proc=A map=t advice=populate_read") == "ENOMEM"
    assert w.locked() == []


def test_remove_punches_the_file(w: World) -> None:
    w.ok("fork proc=A child=B")
    assert w.read("B", "s") == 5
    w.ok("madvise proc=A map=s advice=remove start=0 len=1")
    assert w.pages("A", "s") == w.pages("B", "s") == [None, None]
    assert w.errno("madvise proc=A map=m advice=remove") == "EACCES"
    assert w.locked() == []


def test_advice_on_holes_is_applied_to_the_rest(w: World) -> None:
    w.ok("touch_write proc=A map=m page=1", "munmap proc=A map=m start=0 len=1")
    assert w.errno("madvise proc=A map=m advice=dontneed") == "ENOMEM"
    assert w.pages("A", "m") == ["-", None]
    assert w.errno("madvise proc=A map=m advice=dontneed start=4 len=1") == "ENOMEM"


def test_advice_for_parts_of_pages(w: World) -> None:
    w.machine.current = w.task("A")
    start = w.task("A").maps["m"].start
    assert w.sys_madvise(start + 4096, SIZE, MADV_DONTNEED) == -EINVAL
    assert w.sys_madvise(start + 1, SIZE, MADV_DONTNEED) == -EINVAL
    # Less than a huge page: nothing is dropped.
    assert w.sys_madvise(start, SIZE - 4096, MADV_DONTNEED) == 0
    assert w.folio("A", "m") is not None
    assert w.sys_madvise(start, 0, MADV_REMOVE) == 0
    assert w.sys_madvise(start, SIZE, 999) == -EINVAL


def test_advice_that_needs_anonymous_memory(w: World) -> None:
    assert w.errno("madvise proc=A map=m advice=free") == "EINVAL"
    assert w.errno("madvise proc=A map=m advice=wipeonfork") == "EINVAL"


def test_split_without_memory_is_eagain(w: World) -> None:
    w.ok("fail_kmalloc what=vma count=1")
    assert w.errno("madvise proc=A map=m advice=dontfork start=0 len=1") == "EAGAIN"
    assert EAGAIN in w.ERRNO_NAMES


# ---- touches ----


def test_store_through_a_clean_entry_makes_it_dirty(w: World) -> None:
    w.ok("mprotect proc=A map=s start=0 len=2 prot=r")
    w.read("A", "s", 1)
    w.ok("mprotect proc=A map=s start=0 len=2 prot=rw")
    assert (w.pte("A", "s", 1).write, w.pte("A", "s", 1).dirty) == (True, False)
    w.ok("touch_write proc=A map=s page=1")
    assert w.pte("A", "s", 1).dirty


def test_fault_that_never_ends_is_a_hang(w: World) -> None:
    w.machine.fail["page_table"] = 1000
    task = w.task("A")
    w.ok("mmap proc=A map=n type=private len=1 noreserve=1")
    with pytest.raises(KernelHang, match="still faulting"):
        w.touch(task, task.maps["n"].start, True, 1)


def test_freeing_a_table_that_maps_a_page_is_a_bug(w: World) -> None:
    mm = w.task("A").mm
    with pytest.raises(KernelBug, match="maps a page"):
        w.hugetlb_free_pgd_range(w.tlb_gather_mmu(mm), 0, 1 << 47)
