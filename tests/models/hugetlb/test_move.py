"""mremap: page tables move, and the reservation map moves with the whole mapping only."""

from __future__ import annotations

import pytest

from models.hugetlb.structs import HPAGE_RESV_OWNER
from tests.models.steps import SIZE, World


@pytest.fixture
def w() -> World:
    world = World(nodes=1, nr_hugepages=6)
    world.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=3",
        "touch_write proc=A map=m page=0",
        "touch_write proc=A map=m page=2",
    )
    return world


def test_whole_private_mapping_moves_with_its_reservation(w: World) -> None:
    folios = [w.folio("A", "m", page) for page in (0, 2)]
    resv = w.vma("A", "m").vm_private_data
    w.ok("mremap proc=A map=m start=0 len=3 new_len=3 to=n")
    assert w.pages("A", "n") == ["0", None, "0"]
    assert [w.folio("A", "n", page) for page in (0, 2)] == folios
    assert w.read("A", "n", 2) == 4
    assert w.vma("A", "n").vm_private_data is resv
    assert w.vma("A", "n").vm_private_flags == HPAGE_RESV_OWNER
    assert resv.refs == 1
    assert w.counters == (6, 4, 1, 0)
    w.ok("touch_write proc=A map=n page=1", "munmap proc=A map=n")
    assert w.counters == (6, 6, 0, 0)
    assert w.locked() == []


def test_part_of_a_private_mapping(w: World) -> None:
    resv = w.vma("A", "m").vm_private_data
    w.ok("mremap proc=A map=m start=2 len=1 new_len=1 to=n")
    assert w.read("A", "n") == 4
    # The old vma gave up the map, although two of its pages stay.
    assert w.vma("A", "m").vm_private_data is None
    assert w.vma("A", "n").vm_private_data is resv
    assert resv.refs == 1
    # Page 1 is reserved still, but nobody can use that.
    assert w.counters == (6, 4, 1, 0)
    w.ok("munmap proc=A map=m", "munmap proc=A map=n")
    assert w.counters == (6, 6, 1, 0)


def test_shared_mapping_keeps_its_pages_and_gets_a_lock_of_its_own(w: World) -> None:
    w.ok("mmap proc=A map=s type=shared len=2", "touch_write proc=A map=s page=1")
    lock = w.vma("A", "s").vm_private_data
    w.ok("mremap proc=A map=s start=0 len=2 new_len=2 to=t")
    assert w.read("A", "t", 1) == 6
    assert w.vma("A", "t").vm_private_data is not lock
    assert len(w.vma("A", "t").vm_file.f_mapping.i_mmap) == 1
    assert w.locked() == []


def test_it_can_shrink_but_not_grow(w: World) -> None:
    assert w.errno("mremap proc=A map=m start=0 len=3 new_len=4") == "EINVAL"
    assert w.errno("mremap proc=A map=m start=0 len=2 new_len=3 to=n") == "EINVAL"
    w.ok("mremap proc=A map=m start=0 len=3 new_len=1")
    assert w.pages("A", "m") == ["0", "-", "-"]
    assert w.counters == (6, 5, 0, 0)


def test_shrinking_move_unmaps_the_rest_first(w: World) -> None:
    w.ok("mremap proc=A map=m start=0 len=3 new_len=2 to=n")
    assert w.pages("A", "n") == ["0", None]
    assert w.counters == (6, 5, 1, 0)


def test_outside_of_any_vma(w: World) -> None:
    w.ok("munmap proc=A map=m start=1 len=1")
    assert w.errno("mremap proc=A map=m start=1 len=1 new_len=1 to=n") == "EFAULT"
    # From one vma into a hole.
    assert w.errno("mremap proc=A map=m start=0 len=2 new_len=2 to=n") == "EFAULT"


def test_no_table_half_way_moves_everything_back(w: World) -> None:
    before = w.counters, w.pages("A", "m")
    folio = w.folio("A", "m")
    w.machine.fail["page_table"] = 1
    assert w.errno("mremap proc=A map=m start=0 len=3 new_len=3 to=n") == "ENOMEM"
    assert (w.counters, w.pages("A", "m")) == before
    assert w.folio("A", "m") is folio
    assert len(w.task("A").mm.vmas) == 1
    assert len(w.vma("A", "m").vm_file.f_mapping.i_mmap) == 1
    assert w.vma("A", "m").vm_private_data.refs == 1
    assert w.locked() == []


def test_entries_of_one_table_need_one_lock(w: World) -> None:
    vma, start = w.vma("A", "m"), w.task("A").maps["m"].start
    table = w.task("A").mm.page_table
    near = w.huge_pte_alloc(vma.vm_mm, vma, start + 8 * SIZE, SIZE)
    far = w.huge_pte_alloc(vma.vm_mm, vma, start + (1 << 30), SIZE)
    assert near.ptl is table[start].ptl
    assert far.ptl is not near.ptl
    folio = table[start].pte.folio
    w.move_huge_pte(vma, start, start + 8 * SIZE, table[start], near, SIZE)
    w.move_huge_pte(vma, start + 8 * SIZE, start + (1 << 30), near, far, SIZE)
    assert (table[start].pte.folio, near.pte.folio, far.pte.folio) == (None, None, folio)
    assert near.ptl.owner is far.ptl.owner is None


def test_moved_mapping_leaves_its_userfaultfd(w: World) -> None:
    w.ok("uffd_register proc=A map=m", "mremap proc=A map=m start=0 len=3 new_len=3 to=n")
    vma = w.vma("A", "n")
    assert vma.uffd is None
    assert not vma.vm_flags & w.VM_UFFD_FLAGS
    assert w.read("A", "n", 1) == 0


@pytest.mark.parametrize(
    ("flags", "new_addr", "errno"),
    [
        (8, 0, "EINVAL"),
        (2, 1 << 40, "EINVAL"),
        (4, 0, "EINVAL"),
        (3, (1 << 40) + 4096, "EINVAL"),
        (3, (1 << 47) - SIZE, "EINVAL"),
        (5, 0, "EINVAL"),
    ],
)
def test_bad_arguments(w: World, flags: int, new_addr: int, errno: str) -> None:
    w.machine.current = w.task("A")
    start = w.task("A").maps["m"].start
    ret = w.sys_mremap(start, 3 * SIZE, 3 * SIZE, flags, new_addr)
    assert w.ERRNO_NAMES[-ret] == errno
    assert w.pages("A", "m") == ["0", None, "0"]
    assert w.locked() == []


def test_overlap_of_old_and_new(w: World) -> None:
    w.machine.current = w.task("A")
    start = w.task("A").maps["m"].start
    assert w.ERRNO_NAMES[-w.sys_mremap(start, 3 * SIZE, 3 * SIZE, 3, start + SIZE)] == "EINVAL"
