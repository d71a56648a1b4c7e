"""userfaultfd: COPY, CONTINUE, POISON, and the way round when the source cannot be read."""

from __future__ import annotations

import pytest

from models.kernel.machine import Unmodelled
from models.kernel.structs import VM_UFFD_MINOR, VM_UFFD_MISSING
from stable import alloc_cgroup, cow_from_owner, uffd
from tests.models.steps import SIZE, World


@pytest.fixture(params=["base", "6.12.117"])
def later(request: pytest.FixtureRequest) -> tuple[object, ...]:
    return () if request.param == "base" else (cow_from_owner, alloc_cgroup, uffd)


def boot(*later: object, kind: str = "private", mode: str = "missing", pool: int = 4) -> World:
    """A process with a registered mapping of two pages."""
    w = World(*later, nodes=1, nr_hugepages=pool)  # type: ignore[arg-type]
    w.ok(
        "spawn id=A",
        f"mmap proc=A map=m type={kind} len=2",
        f"uffd_register proc=A map=m mode={mode}",
    )
    return w


@pytest.fixture(params=["private", "shared"])
def w(request: pytest.FixtureRequest, later: tuple[object, ...]) -> World:
    return boot(*later, kind=request.param)


def test_missing_page_is_sigbus_until_it_is_copied(w: World) -> None:
    assert w.signal("touch_read proc=A map=m page=0") == ("SIGBUS", 2)
    assert w.counters == (4, 4, 2, 0)
    w.ok("uffd_copy proc=A map=m page=0")
    assert w.read("A", "m") == 5
    pte = w.pte("A", "m")
    assert (pte.write, pte.dirty, pte.young) == (True, True, True)
    assert w.counters == (4, 3, 1, 0)
    assert w.task("A").mm.hugetlb_usage == 512
    assert w.folio("A", "m").locked is False
    assert w.locked() == []


def test_page_that_is_there_is_eexist(w: World) -> None:
    w.ok("uffd_copy proc=A map=m page=0")
    assert w.errno("uffd_copy proc=A map=m page=0") == "EEXIST"
    # Page 0 stands in the way of page 1.
    assert w.errno("uffd_copy proc=A map=m page=0 len=2") == "EEXIST"
    w.ok("uffd_copy proc=A map=m page=1")
    assert w.counters == (4, 2, 0, 0)


def test_part_of_the_range_is_eagain(w: World) -> None:
    w.ok("uffd_copy proc=A map=m page=1")
    assert w.errno("uffd_copy proc=A map=m page=0 len=2") == "EAGAIN"
    assert w.pages("A", "m") == ["0", "0"]


def test_source_that_faults_goes_by_a_temporary_folio(w: World) -> None:
    w.ok("fail_copy what=user_atomic count=1", "uffd_copy proc=A map=m page=0")
    assert w.read("A", "m") == 5
    # The temporary one went back to the pool, and the reservation was taken once.
    assert w.counters == (4, 3, 1, 0)
    assert w.locked() == []


def test_source_that_is_no_memory_is_efault(w: World) -> None:
    w.ok(
        "fail_copy what=user_atomic count=1",
        "fail_copy what=user count=1",
    )
    assert w.errno("uffd_copy proc=A map=m page=0") == "EFAULT"
    assert w.counters == (4, 4, 2, 0)
    assert w.pages("A", "m") == [None, None]
    assert w.locked() == []


def test_temporary_folio_leaves_the_reserved_pages(later: tuple[object, ...]) -> None:
    # All free pages are reserved: the temporary one comes fresh from the buddy allocator.
    w = boot(*later, pool=2)
    w.ok("fail_copy what=user_atomic count=1", "fail_buddy node=0 count=1")
    assert w.errno("uffd_copy proc=A map=m page=0") == "ENOMEM"
    assert w.counters == (2, 2, 2, 0)
    w.ok("fail_copy what=user_atomic count=1", "uffd_copy proc=A map=m page=0")
    assert w.counters == (2, 1, 1, 0)


def test_late_copy_failure_differs() -> None:
    kept = []
    for later in ((), (cow_from_owner, alloc_cgroup, uffd)):
        w = boot(*later)
        w.ok("fail_copy what=user_atomic count=1", "fail_copy what=page count=1")
        assert w.errno("uffd_copy proc=A map=m page=0") == "EHWPOISON"
        assert w.locked() == []
        w.ok("munmap proc=A map=m")
        kept.append(w.counters)
    base, stable = kept
    # Base: the map says that the reservation was used, the global count that it was not.
    assert base == (4, 4, 1, 0)
    assert stable == (4, 4, 0, 0)


def test_no_page_left_is_enomem(later: tuple[object, ...]) -> None:
    w = World(*later, nr_hugepages=0)  # type: ignore[arg-type]
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=1 noreserve=1",
        "uffd_register proc=A map=m",
    )
    assert w.errno("uffd_copy proc=A map=m page=0") == "ENOMEM"
    assert w.locked() == []


def test_beyond_the_file_is_efault(later: tuple[object, ...]) -> None:
    w = World(*later, nr_hugepages=4)  # type: ignore[arg-type]
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=m type=shared len=2 fd=f",
        "uffd_register proc=A map=m",
        "ftruncate proc=A fd=f len=1",
    )
    assert w.errno("uffd_copy proc=A map=m page=1") == "EFAULT"
    assert w.counters[1] == 4
    assert w.locked() == []


def test_page_cache_has_the_page_is_eexist(later: tuple[object, ...]) -> None:
    w = World(*later, nr_hugepages=4)  # type: ignore[arg-type]
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "fallocate proc=A fd=f off=0 len=1 mode=none",
        "mmap proc=A map=m type=shared len=1 fd=f",
        "uffd_register proc=A map=m mode=all",
    )
    assert w.errno("uffd_copy proc=A map=m page=0") == "EEXIST"
    # That is a minor fault, which CONTINUE answers.
    assert w.signal("touch_read proc=A map=m page=0") == ("SIGBUS", 2)
    w.ok("uffd_continue proc=A map=m page=0")
    assert w.read("A", "m") == 0
    assert w.pte("A", "m").write
    assert w.folio("A", "m").refcount == 513
    assert w.errno("uffd_continue proc=A map=m page=0") == "EEXIST"
    assert w.locked() == []


def test_continue_in_a_private_mapping_stays_read_only(later: tuple[object, ...]) -> None:
    w = World(*later, nr_hugepages=4)  # type: ignore[arg-type]
    w.ok(
        "mount mount=h0",
        "spawn id=A",
        "open proc=A fd=f mount=h0 name=x",
        "fallocate proc=A fd=f off=0 len=1 mode=none",
        "mmap proc=A map=m type=private len=1 fd=f",
        "uffd_register proc=A map=m mode=minor",
        "uffd_continue proc=A map=m page=0",
    )
    assert not w.pte("A", "m").write
    w.ok("touch_write proc=A map=m page=0")
    assert w.read("A", "m") == 8
    assert w.task("A").fds["f"].f_inode.i_mapping.pages[0].data == 0


def test_continue_without_a_page_is_efault(w: World) -> None:
    assert w.errno("uffd_continue proc=A map=m page=0") == "EFAULT"
    assert w.locked() == []


def test_poison_overwrites_nothing_and_copy_overwrites_poison(w: World) -> None:
    w.ok("uffd_copy proc=A map=m page=0")
    assert w.errno("uffd_poison proc=A map=m page=0") == "EEXIST"
    w.ok("uffd_poison proc=A map=m page=1")
    assert w.signal("touch_read proc=A map=m page=1") == ("SIGBUS", 4)
    w.ok("uffd_copy proc=A map=m page=1")
    assert w.read("A", "m", 1) is not None


def test_only_registered_ranges_of_one_vma(w: World) -> None:
    w.ok("mmap proc=A map=n type=private len=2")
    assert w.errno("uffd_copy proc=A map=n page=0 len=2") == "ENOENT"
    w.ok("mprotect proc=A map=m start=1 len=1 prot=r")
    assert w.errno("uffd_copy proc=A map=m page=0 len=2") == "ENOENT"
    w.ok("munmap proc=A map=m start=0 len=1")
    assert w.errno("uffd_copy proc=A map=m page=0") == "ENOENT"
    assert w.locked() == []


def test_register_cuts_the_vma(w: World) -> None:
    w.ok(
        "mmap proc=A map=n type=private len=3 noreserve=1",
        "uffd_register proc=A map=n start=1 len=1 mode=minor",
    )
    flags = [vma.vm_flags & (VM_UFFD_MISSING | VM_UFFD_MINOR) for vma in w.task("A").mm.vmas]
    assert flags == [VM_UFFD_MISSING, 0, VM_UFFD_MINOR, 0]
    w.ok("munmap proc=A map=n start=2 len=1")
    # The vmas before the hole are registered together; a hole does not matter.
    w.ok("uffd_register proc=A map=n")


def test_bad_ranges(w: World) -> None:
    assert w.errno("uffd_register proc=A map=m start=0 len=0") == "EINVAL"
    w.machine.current = w.task("A")
    start = w.task("A").maps["m"].start
    for address, length in (
        (start + 4096, SIZE),
        (start, 4096),
        (1 << 50, SIZE),
        (start + 1, SIZE),
    ):
        assert w.ERRNO_NAMES[-w.sys_uffd_register(address, length, VM_UFFD_MISSING)] == "EINVAL"
    for address, length in ((start + 4096, SIZE), (start, 4096)):
        assert w.ERRNO_NAMES[-w.sys_uffd_copy(address, 7, length, False, False)] in (
            "EINVAL",
            "ENOENT",
        )
    assert w.ERRNO_NAMES[-w.sys_uffd_register(1 << 40, SIZE, VM_UFFD_MISSING)] == "EINVAL"
    assert w.locked() == []


def test_child_is_not_registered(w: World) -> None:
    w.ok("fork proc=A child=B")
    assert w.vma("B", "m").uffd is None
    assert w.read("B", "m") == 0


def test_context_that_wants_to_be_asked_is_not_modelled(w: World) -> None:
    w.task("A").uffd.features = 0
    vma = w.vma("A", "m")
    with pytest.raises(Unmodelled, match="waits for its userfaultfd handler"):
        w.handle_mm_fault(vma, vma.vm_start, 0)


def test_cold_source_is_tried_again_and_reads_zero(w: World) -> None:
    w.ok("uffd_copy proc=A map=m page=0 len=2 cold=1")
    assert [w.read("A", "m", page) for page in (0, 1)] == [0, 0]
    assert w.counters == (4, 2, 0, 0)
    assert w.locked() == []


def test_each_page_of_a_warm_source_has_a_word_of_its_own(w: World) -> None:
    w.ok("uffd_copy proc=A map=m page=0 len=2")
    assert [w.read("A", "m", page) for page in (0, 1)] == [4, 4 + SIZE]


def test_unregistered_pages_are_faulted_in_again(w: World) -> None:
    w.ok("uffd_unregister proc=A map=m start=1 len=1")
    assert w.read("A", "m", 1) is not None
    assert w.signal("touch_read proc=A map=m page=0") == ("SIGBUS", 2)
    assert w.errno("uffd_copy proc=A map=m page=1") == "ENOENT"
    w.ok("uffd_unregister proc=A map=m", "uffd_unregister proc=A map=m")
    w.ok("touch_read proc=A map=m page=0")
    assert w.errno("uffd_unregister proc=A map=m start=0 len=0") == "EINVAL"
    assert w.errno("uffd_unregister proc=A map=m start=7 len=1") == "EINVAL"


def test_unregistering_takes_write_protection_back() -> None:
    w = boot(mode="wp")
    w.ok("touch_write proc=A map=m page=0", "uffd_unregister proc=A map=m")
    vma = w.task("A").mm.vmas[0]
    assert (vma.uffd, w.userfaultfd_wp(vma)) == (None, False)
