"""What mm calls when a mapping of huge pages is copied, closed or split."""

from __future__ import annotations

import pytest

from models.hugetlb.structs import VmaLock
from models.kernel.errno import EINVAL
from models.kernel.machine import KernelBug
from stable import split
from tests.models.steps import SIZE, World


@pytest.fixture(params=["base", "6.12.117"])
def w(request: pytest.FixtureRequest) -> World:
    world = World(
        *(() if request.param == "base" else (split,)), nodes=1, nr_hugepages=8, effects=True
    )
    world.ok("spawn id=A")
    return world


def test_split_of_an_owner_shares_the_reservation_map(w: World) -> None:
    w.ok("mmap proc=A map=m type=private len=3", "touch_write proc=A map=m page=0")
    resv = w.vma("A", "m").vm_private_data
    assert resv.refs == 1
    w.ok("mprotect proc=A map=m start=1 len=1 prot=r")
    vmas = w.task("A").mm.vmas
    assert [vma.vm_private_data for vma in vmas] == [resv] * 3
    assert resv.refs == 3
    assert [vma.vm_pgoff >> 9 for vma in vmas] == [0, 1, 2]
    # Each part gives back what it has not used.
    w.ok("munmap proc=A map=m start=1 len=1")
    assert (resv.refs, w.counters) == (2, (8, 7, 1, 0))
    w.ok("munmap proc=A map=m start=0 len=1")
    assert (resv.refs, w.counters) == (1, (8, 8, 1, 0))
    w.ok("munmap proc=A map=m start=2 len=1")
    assert (resv.refs, w.counters) == (0, (8, 8, 0, 0))


def test_split_of_a_shared_mapping_makes_a_lock(w: World) -> None:
    w.ok("mmap proc=A map=m type=shared len=2", "mprotect proc=A map=m start=0 len=1 prot=r")
    low, high = w.task("A").mm.vmas
    assert low.vm_private_data is not high.vm_private_data
    assert isinstance(low.vm_private_data, VmaLock)
    assert (low.vm_private_data.vma, high.vm_private_data.vma) == (low, high)
    assert low.vm_file.f_count == 2


def test_open_keeps_a_lock_that_is_the_vmas_own(w: World) -> None:
    w.ok("mmap proc=A map=m type=shared len=1")
    vma = w.vma("A", "m")
    lock = vma.vm_private_data
    w.hugetlb_vm_op_open(vma)
    assert vma.vm_private_data is lock
    w.hugetlb_vma_lock_free(vma)
    w.hugetlb_vm_op_open(vma)
    assert vma.vm_private_data.vma is vma


def test_close_without_a_reservation_changes_nothing(w: World) -> None:
    w.ok("mmap proc=A map=m type=private len=2 noreserve=1", "munmap proc=A map=m")
    assert w.counters == (8, 8, 0, 0)


def test_close_gives_back_to_the_subpool(w: World) -> None:
    w.ok(
        "mount mount=h0 size=4",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=m type=private len=3 fd=f",
        "touch_write proc=A map=m page=1",
    )
    spool = w.mounts["h0"].spool
    assert spool.used_hpages == 3
    w.ok("munmap proc=A map=m")
    assert spool.used_hpages == 0
    assert w.counters == (8, 8, 0, 0)


def test_split_inside_a_huge_page(w: World) -> None:
    w.ok("mmap proc=A map=m type=private len=2")
    vma = w.vma("A", "m")
    assert w.hugetlb_vm_op_split(vma, vma.vm_start + SIZE // 2) == -EINVAL
    assert w.hugetlb_vm_op_split(vma, vma.vm_start + SIZE) == 0
    assert w.hugetlb_vm_op_pagesize(vma) == SIZE


def test_fault_through_the_table_is_a_bug(w: World) -> None:
    w.ok("mmap proc=A map=m type=private len=1")
    with pytest.raises(KernelBug, match="hugetlb_vm_op_fault"):
        w.vma("A", "m").vm_ops.fault(None)


def test_shared_tables_are_looked_for_in_the_right_place() -> None:
    """A split within an aligned GiB: before it with the locks taken, or in the middle of it."""
    seen = []
    for later in ((), (split,)):
        w = World(*later, nodes=1, nr_hugepages=1, effects=True)
        w.ok("spawn id=A", "mmap proc=A map=m type=shared len=1024 noreserve=1")
        w.effects()
        w.ok("mprotect proc=A map=m start=4 len=1020 prot=r")
        log = w.effects()
        # Without a page table nothing is found; what counts is which locks were taken first.
        seen.append(log[: log.index("down_write i_mmap_rwsem") + 1])
        assert w.locked() == []
    base, stable = seen
    assert base == ("down_write mmap_lock", "down_write vma_lock", "down_write i_mmap_rwsem")
    assert stable == ("down_write mmap_lock", "down_write i_mmap_rwsem")
