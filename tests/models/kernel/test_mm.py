"""Address spaces: mapping, splitting, unmapping, and what an error leaves behind."""

from __future__ import annotations

import pytest

from models.kernel.errno import EACCES, EEXIST, EINVAL, ENOMEM, EOVERFLOW
from models.kernel.machine import Unmodelled
from models.kernel.mm import MAX_MAP_COUNT, TASK_SIZE
from models.kernel.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_HUGE_SHIFT,
    MAP_HUGETLB,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
)
from models.kernel.structs import VM_MAYSHARE, VM_MAYWRITE, VM_SHARED
from tests.models.steps import SIZE, World

RW = PROT_READ | PROT_WRITE
ANON = MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT
AT = 1 << 40


@pytest.fixture
def w() -> World:
    world = World(nodes=1, nr_hugepages=8)
    world.ok("mount mount=h0", "spawn id=A", "open proc=A fd=f mount=h0 name=x")
    world.machine.current = world.task("A")
    return world


def spans(w: World) -> list[tuple[int, int]]:
    """Start and end of all vmas, in huge pages from AT."""
    mm = w.task("A").mm
    return [((vma.vm_start - AT) // SIZE, (vma.vm_end - AT) // SIZE) for vma in mm.vmas]


def anonymous(w: World, pages: int, at: int = AT, kind: int = MAP_PRIVATE) -> int:
    flags = ANON | kind | MAP_FIXED_NOREPLACE
    return int(w.ksys_mmap_pgoff(at, pages * SIZE, RW, flags, None, 0))


def test_mmap_of_a_file(w: World) -> None:
    ret = w.ksys_mmap_pgoff(AT, SIZE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, "f", 512)
    assert ret == AT
    (vma,) = w.task("A").mm.vmas
    assert vma.vm_pgoff == 512
    assert vma.vm_flags & (VM_SHARED | VM_MAYSHARE) == VM_SHARED | VM_MAYSHARE
    assert vma.vm_file.f_count == 2
    assert vma.vm_file.f_mapping.i_mmap == [vma]
    # The file grew to the end of the writable mapping.
    assert vma.vm_file.f_inode.i_size == 2 * SIZE


def test_length_of_a_file_mapping_is_rounded_up(w: World) -> None:
    assert w.ksys_mmap_pgoff(AT, SIZE + 1, RW, MAP_PRIVATE | MAP_FIXED_NOREPLACE, "f", 0) == AT
    assert spans(w) == [(0, 2)]


@pytest.mark.parametrize(
    ("addr", "length", "flags", "fd", "pgoff", "error"),
    [
        (AT, SIZE, MAP_PRIVATE | MAP_FIXED, "g", 0, 9),
        (AT, 0, MAP_PRIVATE | MAP_FIXED, "f", 0, EINVAL),
        (AT, SIZE, MAP_PRIVATE | MAP_FIXED, "f", 1, EINVAL),
        (AT + 4096, SIZE, MAP_PRIVATE | MAP_FIXED, "f", 0, EINVAL),
        (AT, SIZE, MAP_FIXED, "f", 0, EINVAL),
        (AT, SIZE, MAP_PRIVATE | MAP_FIXED, "f", (1 << 64) - 1, EOVERFLOW),
        (AT, TASK_SIZE + SIZE, MAP_PRIVATE | MAP_FIXED, "f", 0, ENOMEM),
        ((1 << 47) - SIZE, SIZE, MAP_PRIVATE | MAP_FIXED, "f", 0, ENOMEM),
        (AT, SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 25 << 26, None, 0, EINVAL),
    ],
)
def test_bad_arguments(
    w: World, addr: int, length: int, flags: int, fd: str | None, pgoff: int, error: int
) -> None:
    assert w.ksys_mmap_pgoff(addr, length, RW, flags, fd, pgoff) == -error
    assert w.task("A").mm.vmas == []
    assert w.task("A").fds["f"].f_count == 1
    assert w.counters == (8, 8, 0, 0)
    assert w.locked() == []


def test_write_needs_a_file_open_for_writing(w: World) -> None:
    file = w.task("A").fds["f"]
    file.f_mode = 1
    shared = MAP_SHARED | MAP_FIXED_NOREPLACE
    assert w.ksys_mmap_pgoff(AT, SIZE, RW, shared, "f", 0) == -EACCES
    assert w.ksys_mmap_pgoff(AT, SIZE, PROT_READ, shared, "f", 0) == AT
    (vma,) = w.task("A").mm.vmas
    assert not vma.vm_flags & (VM_SHARED | VM_MAYWRITE)
    assert vma.vm_flags & VM_MAYSHARE
    file.f_mode = 2
    assert w.ksys_mmap_pgoff(AT + SIZE, SIZE, RW, MAP_PRIVATE | MAP_FIXED, "f", 0) == -EACCES


def test_addresses_in_use(w: World) -> None:
    assert anonymous(w, 2) == AT
    assert anonymous(w, 1, AT + SIZE) == -EEXIST
    assert w.counters == (8, 8, 2, 0)
    with pytest.raises(Unmodelled, match="mmap over another mapping"):
        w.ksys_mmap_pgoff(AT, SIZE, RW, MAP_PRIVATE | MAP_FIXED, "f", 0)


def test_reservation_that_fails_leaves_no_vma_and_no_file(w: World) -> None:
    assert anonymous(w, 9) == -ENOMEM
    assert w.task("A").mm.vmas == []
    # The anonymous file is released when the system call returns.
    assert len(w.task("A").task_works) == 1
    w.task_work_run()
    assert w.counters == (8, 8, 0, 0)
    w.machine.fail["kmalloc_vma"] = 1
    assert anonymous(w, 1) == -ENOMEM
    w.task_work_run()
    assert w.counters == (8, 8, 0, 0)


def test_finding(w: World) -> None:
    anonymous(w, 2)
    anonymous(w, 1, AT + 4 * SIZE)
    mm = w.task("A").mm
    low, high = mm.vmas
    assert w.find_vma(mm, 0) is w.find_vma(mm, AT) is low
    assert w.find_vma(mm, AT + 2 * SIZE) is high
    assert w.find_vma(mm, AT + 5 * SIZE) is None
    assert w.vma_lookup(mm, AT + 2 * SIZE) is None
    assert w.vma_lookup(mm, AT + 5 * SIZE - 1) is high
    assert w.find_vma_intersection(mm, AT + 2 * SIZE, AT + 4 * SIZE) is None
    assert w.find_vma_intersection(mm, AT + 2 * SIZE, AT + 4 * SIZE + 1) is high


@pytest.mark.parametrize(
    ("start", "pages", "left"),
    [
        (0, 4, []),
        (0, 1, [(1, 4)]),
        (3, 1, [(0, 3)]),
        (1, 2, [(0, 1), (3, 4)]),
        (2, 8, [(0, 2)]),
    ],
)
def test_munmap_cuts(w: World, start: int, pages: int, left: list[tuple[int, int]]) -> None:
    anonymous(w, 4)
    assert w.sys_munmap(AT + start * SIZE, pages * SIZE) == 0
    assert spans(w) == left
    assert w.counters == (8, 8, sum(end - first for first, end in left), 0)
    assert w.locked() == []


def test_munmap_over_holes_and_of_nothing(w: World) -> None:
    anonymous(w, 1)
    anonymous(w, 2, AT + 2 * SIZE)
    assert w.sys_munmap(AT + SIZE, SIZE) == 0
    assert w.sys_munmap(AT, 3 * SIZE) == 0
    assert spans(w) == [(3, 4)]
    for bad in ((AT + 1, SIZE), (AT, 0), (TASK_SIZE + 4096, SIZE), (AT, TASK_SIZE)):
        assert w.sys_munmap(*bad) == -EINVAL


def test_munmap_inside_a_huge_page_keeps_a_split_that_was_done(w: World) -> None:
    anonymous(w, 3)
    assert w.sys_munmap(AT + SIZE, SIZE // 2) == -EINVAL
    assert spans(w) == [(0, 1), (1, 3)]
    assert w.counters == (8, 8, 3, 0)
    assert w.locked() == []


@pytest.mark.parametrize("what", ["kmalloc_vma", "kmalloc_anon_vma"])
def test_split_without_memory(w: World, what: str) -> None:
    anonymous(w, 3)
    w.touch(w.task("A"), AT, True, 1)
    (vma,) = w.task("A").mm.vmas
    w.machine.fail[what] = 1
    assert w.sys_munmap(AT + SIZE, SIZE) == -ENOMEM
    assert w.task("A").mm.vmas == [vma]
    assert vma.vm_private_data.refs == 1
    assert vma.anon_vma.vmas == [vma]
    assert vma.vm_file.f_count == 1


def test_too_many_vmas(w: World) -> None:
    anonymous(w, 3)
    mm = w.task("A").mm
    (vma,) = mm.vmas
    mm.vmas.extend([vma] * MAX_MAP_COUNT)
    assert w.split_vma(mm, vma, AT + SIZE, True) == -ENOMEM
    assert w.sys_munmap(AT + SIZE, SIZE) == -ENOMEM


def test_split_keeps_the_files_list_in_order(w: World) -> None:
    for at, page in ((AT, 0), (AT + 8 * SIZE, 1)):
        flags = MAP_SHARED | MAP_FIXED_NOREPLACE
        assert w.ksys_mmap_pgoff(at, 3 * SIZE, RW, flags, "f", page * 512) == at
    mm = w.task("A").mm
    assert w.split_vma(mm, mm.vmas[0], AT + SIZE, True) == 0
    i_mmap = w.task("A").fds["f"].f_mapping.i_mmap
    assert [vma.vm_pgoff // 512 for vma in i_mmap] == [0, 1, 1]
    # The upper part was taken off the list and put back behind those that start with it.
    assert [vma.vm_start for vma in i_mmap] == [AT, AT + 8 * SIZE, AT + SIZE]


def test_populate(w: World) -> None:
    w.machine.current = None
    w.ok("mmap proc=A map=p type=private len=2 populate=1")
    assert w.pages("A", "p") == ["0", "0"]
    assert w.pte("A", "p").write
    w.ok("mmap proc=A map=s type=shared len=2 populate=1")
    assert w.pages("A", "s") == ["0", "0"]
    w.ok("mmap proc=A map=n type=private len=1 prot=none populate=1")
    assert w.pages("A", "n") == [None]
    # Errors of populating do not matter.
    w.ok("mmap proc=A map=x type=private len=9 noreserve=1 populate=1")
    assert w.pages("A", "x") == ["0", "0", "0"] + [None] * 6
