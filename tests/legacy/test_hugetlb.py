"""The functions that the series touches, at each of its steps, against the C.

What holds at every step is tested at every step; where the steps differ inside, by step.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from equivalence.subjects.hugetlb.series import vma_dependence
from models.hugetlb.structs import HPAGE_RESV_OWNER, HPG_RESTORE_RESERVE
from models.kernel.errno import ENOMEM, ENOSPC
from models.kernel.machine import ULONG_MAX
from models.kernel.mempolicy import MPOL_BIND, MPOL_PREFERRED_MANY
from models.kernel.structs import (
    VM_HUGETLB,
    VM_MAYSHARE,
    VM_NORESERVE,
    VM_SHARED,
    File,
    Inode,
    SuperBlock,
    VmArea,
)
from tests.models.linked import Kernel

HUGE = 1 << 21
STEPS = (0, 1, 2, 3)


@pytest.fixture(params=STEPS)
def k(request: pytest.FixtureRequest) -> Kernel:
    kernel = Kernel(accounting=True, linked=vma_dependence().steps[request.param])
    kernel.names["step"] = request.param
    kernel.pool(3)
    assert kernel.cgroup_mkdir("g1") == 0
    assert kernel.cgroup_attach_task("g1", kernel.task) == 0
    return kernel


def mapping(k: Kernel, kind: str, *, spool: Any = None, reserve: int = 4) -> VmArea:
    """Four huge pages of a file: shared, private or noreserve, with ``reserve`` of them reserved;
    ``child`` is a private mapping that a process got from its parent."""
    sb = SuperBlock("h0", k.h)
    sb.spool = spool
    inode = Inode(1, sb)
    inode.resv_map = k.resv_map_alloc()
    vma = VmArea(k.task.mm, 0, 4 * HUGE, VM_HUGETLB)
    vma.vm_file = File(inode)
    if kind == "shared":
        vma.vm_flags |= VM_SHARED | VM_MAYSHARE
    if kind == "noreserve":
        vma.vm_flags |= VM_NORESERVE
    if kind != "child" and reserve:
        assert k.hugetlb_reserve_pages(inode, 0, reserve, vma, vma.vm_flags)
    return vma


def alloc(k: Kernel, vma: VmArea, page: int = 0, avoid_reserve: int = 0) -> Any:
    """What alloc_hugetlb_folio() gives for a page of the mapping."""
    folio = k.alloc_hugetlb_folio(vma, page * HUGE, avoid_reserve)
    assert k.hugetlb_lock.owner is None
    return folio


def charges(k: Kernel) -> tuple[int, int, int]:
    """Base pages charged for use and for reservations, and to the memory cgroup."""
    h_cg = k.hugetlb_cgroup_from_task(k.task)
    return (
        k.hugetlb_cgroup_counter_from_cgroup(h_cg, 0).usage,
        k.hugetlb_cgroup_counter_from_cgroup_rsvd(h_cg, 0).usage,
        k.task_cgroup(k.task).memory.cgroup.memory.usage,
    )


def reserved_by_table(flags: int, owner: bool, chg: int) -> bool:
    """The decision as a table: only a page with a reservation, only for who may use it."""
    if chg:
        return False
    if flags & VM_MAYSHARE:
        return True
    return owner and not flags & VM_NORESERVE


def test_who_uses_a_reservation(k: Kernel) -> None:
    for noreserve, shared, owner, chg, avoid in product((0, 1), repeat=5):
        vma = VmArea(None, 0, HUGE, VM_HUGETLB)
        vma.vm_flags |= noreserve * VM_NORESERVE | shared * VM_MAYSHARE
        vma.vm_private_flags = owner * HPAGE_RESV_OWNER
        want = reserved_by_table(vma.vm_flags, bool(owner), chg)
        if k.step < 2:
            assert k.vma_has_reserves(vma, chg) is want
        else:
            assert k.should_use_hstate_resv(vma, chg, avoid) is (want and not avoid)


def dequeue(k: Kernel, vma: VmArea, avoid_reserve: int, chg: int) -> Any:
    """Call dequeue_hugetlb_folio_vma() as the step's caller does."""
    k.spin_lock_irq(k.hugetlb_lock)
    if k.step == 0:
        folio = k.dequeue_hugetlb_folio_vma(k.h, vma, 0, avoid_reserve, chg)
    else:
        use = not avoid_reserve and reserved_by_table(
            vma.vm_flags, bool(vma.vm_private_flags & HPAGE_RESV_OWNER), chg
        )
        folio = k.dequeue_hugetlb_folio_vma(k.h, vma, 0, use)
    k.spin_unlock_irq(k.hugetlb_lock)
    return folio


@pytest.mark.parametrize(
    ("kind", "avoid_reserve", "chg", "resv", "gets", "debits"),
    [
        # A reserved page is there even if no other is.
        ("shared", 0, 0, 3, True, True),
        ("private", 0, 0, 3, True, True),
        # Without a reservation of one's own, the others' are not touched.
        ("shared", 0, 1, 3, False, False),
        ("private", 0, 1, 3, False, False),
        ("private", 1, 0, 3, False, False),
        ("shared", 1, 0, 3, False, False),
        ("child", 0, 0, 3, False, False),
        ("noreserve", 0, 1, 3, False, False),
        # One page is nobody's.
        ("private", 1, 1, 2, True, False),
        ("child", 0, 1, 2, True, False),
        ("noreserve", 0, 1, 2, True, False),
        ("shared", 0, 1, 2, True, False),
        # More reserved than free: the difference wraps, and everybody gets a page.
        ("child", 0, 1, 4, True, False),
        ("private", 1, 1, 4, True, False),
    ],
)
def test_dequeue(
    k: Kernel, kind: str, avoid_reserve: int, chg: int, resv: int, gets: bool, debits: bool
) -> None:
    vma = mapping(k, kind, reserve=1)
    k.h.resv_huge_pages = resv
    folio = dequeue(k, vma, avoid_reserve, chg)
    assert (folio is not None) is gets
    assert k.h.resv_huge_pages == resv - debits
    if folio is not None:
        assert bool(folio.hpg & HPG_RESTORE_RESERVE) is debits
        assert (folio.nid, folio.refcount) == (0, 1)
        assert k.h.free_huge_pages == 2


def test_dequeue_follows_the_policy(k: Kernel) -> None:
    vma = mapping(k, "child")
    k.do_set_mempolicy(MPOL_BIND, 0, 0b10)
    assert dequeue(k, vma, 0, 1).nid == 1
    # Two pages are left, both on the other node.
    assert dequeue(k, vma, 0, 1) is None
    k.do_set_mempolicy(MPOL_PREFERRED_MANY, 0, 0b10)
    assert dequeue(k, vma, 0, 1).nid == 0


def test_a_reserved_page_costs_its_reservation_only(k: Kernel) -> None:
    for kind in ("shared", "private"):
        vma = mapping(k, kind, reserve=2)
        before = k.counters()
        used, rsvd, memory = charges(k)
        folio = alloc(k, vma)
        assert k.counters() == (3, before[1] - 1, before[2] - 1, 0)
        assert folio.hpg & HPG_RESTORE_RESERVE
        # Charged for its use, but the reservation was charged when it was made.
        assert charges(k) == (used + 512, rsvd, memory + 512)
        assert folio._hugetlb_cgroup_rsvd is None
        k.folio_put(folio)
        assert k.counters() == before
        assert charges(k) == (used, rsvd, memory)
        k.h.resv_huge_pages = 0


def test_a_page_without_reservation_is_charged_whole(k: Kernel) -> None:
    vma = mapping(k, "noreserve")
    folio = alloc(k, vma, 1)
    assert k.counters() == (3, 2, 0, 0)
    assert charges(k) == (512, 512, 512)
    assert not folio.hpg & HPG_RESTORE_RESERVE
    assert folio._hugetlb_cgroup is folio._hugetlb_cgroup_rsvd
    assert folio in k.list_entries(k.h.hugepage_activelist)
    k.folio_put(folio)
    assert (k.counters(), charges(k)) == ((3, 3, 0, 0), (0, 0, 0))


def test_an_owner_may_decline_its_reservation(k: Kernel) -> None:
    vma = mapping(k, "private", reserve=2)
    folio = alloc(k, vma, 0, 1)
    assert k.counters() == (3, 2, 2, 0)
    assert not folio.hpg & HPG_RESTORE_RESERVE
    assert charges(k)[1] == 3 * 512
    # All that is left is reserved.
    assert alloc(k, vma, 1, 1) == -ENOSPC
    assert k.counters() == (3, 2, 2, 0)
    assert alloc(k, vma, 1).hpg & HPG_RESTORE_RESERVE


def test_who_has_no_reservation_gets_no_reserved_page(k: Kernel) -> None:
    mapping(k, "private", reserve=3)
    assert alloc(k, mapping(k, "child")) == -ENOSPC
    assert k.counters() == (3, 3, 3, 0)
    assert charges(k) == (0, 3 * 512, 0)


def test_an_empty_pool_takes_surplus(k: Kernel) -> None:
    k.pool(0, overcommit=1)
    vma = mapping(k, "noreserve")
    folio = alloc(k, vma)
    assert (k.counters(), folio.refcount) == ((1, 0, 0, 1), 1)
    assert folio in k.list_entries(k.h.hugepage_activelist)
    assert alloc(k, vma, 1) == -ENOSPC
    k.folio_put(folio)
    assert k.counters() == (0, 0, 0, 0)


def test_a_surplus_page_in_place_of_a_reserved_one_debits_too(k: Kernel) -> None:
    """A policy can hide the reserved page; the fresh one then takes over its reservation."""
    k.h.nr_overcommit_huge_pages = 1
    vma = mapping(k, "private", reserve=1)
    k.task.mems_allowed = 0b10
    taken = [k.h.hugepage_freelists[1].next.entry]
    taken[0].hwpoison = True
    folio = alloc(k, vma)
    assert (folio.nid, k.counters()) == (1, (4, 3, 0, 1))
    assert folio.hpg & HPG_RESTORE_RESERVE


def test_a_subpool_is_asked_where_there_is_no_reservation(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 2, -1)
    vma = mapping(k, "child", spool=spool)
    folios = [alloc(k, vma, page) for page in range(2)]
    assert [f.subpool for f in folios] == [spool, spool]
    assert spool.used_hpages == 2
    assert alloc(k, vma, 2) == -ENOSPC
    assert (spool.used_hpages, k.counters()) == (2, (3, 1, 0, 0))
    k.folio_put(folios[0])
    assert spool.used_hpages == 1


@pytest.mark.parametrize("kind", ["child", "noreserve", "shared"])
def test_a_subpools_minimum_covers_a_page_for_who_may_use_it(k: Kernel, kind: str) -> None:
    spool = k.hugepage_new_subpool(k.h, -1, 1)
    assert k.counters() == (3, 3, 1, 0)
    vma = mapping(k, kind, spool=spool, reserve=0)
    folio = alloc(k, vma)
    assert spool.rsv_hpages == 0
    # The subpool gave its reserved page away in each case, but only a shared mapping, which uses
    # reservations, takes it off the global count.
    assert k.counters() == (3, 2, 0 if kind == "shared" else 1, 0)
    assert bool(folio.hpg & HPG_RESTORE_RESERVE) is (kind == "shared")


@pytest.mark.parametrize("kind", ["private", "shared", "child", "noreserve"])
@pytest.mark.parametrize("avoid_reserve", [0, 1])
@pytest.mark.parametrize(
    ("point", "err"),
    [
        ("charge_memcg", -ENOMEM),
        ("charge_hugetlb", -ENOSPC),
        ("charge_hugetlb_rsvd", -ENOSPC),
        ("buddy", -ENOSPC),
    ],
)
def test_an_error_undoes_what_was_done(
    k: Kernel, kind: str, avoid_reserve: int, point: str, err: int
) -> None:
    spool = k.hugepage_new_subpool(k.h, 9, 1)
    k.h.nr_overcommit_huge_pages = 1
    vma = mapping(k, kind, spool=spool, reserve=1)
    if point == "buddy":
        # Nothing that this task may use is in the pool.
        for nid in (0, 1):
            for folio in k.list_entries(k.h.hugepage_freelists[nid]):
                folio.hwpoison = True
    before = (k.counters(), charges(k), spool.used_hpages, spool.rsv_hpages)
    k.fail(point, 2)
    got = alloc(k, vma, 0, avoid_reserve)
    k.machine.fail.clear()
    after = (k.counters(), charges(k), spool.used_hpages, spool.rsv_hpages)
    charged = kind in ("child", "noreserve") or bool(avoid_reserve)
    if point == "charge_hugetlb_rsvd" and not charged:
        assert got.refcount == 1
        return
    assert got == err
    assert after == before
    for resv in (k.vma_resv_map(vma), vma.vm_file.f_inode.resv_map):  # type: ignore[union-attr]
        assert resv is None or resv.adds_in_progress == 0


def test_without_memory_for_a_region_nothing_is_charged(k: Kernel) -> None:
    vma = mapping(k, "shared", reserve=0)
    resv = k.vma_resv_map(vma)
    # The map's one spare entry is spoken for.
    k.region_chg(resv, 2, 3, [0])
    k.fail("kmalloc_region")
    assert alloc(k, vma) == -ENOMEM
    assert (k.counters(), charges(k)) == ((3, 3, 0, 0), (0, 0, 0))
    assert resv.adds_in_progress == 1


def test_a_reservation_made_meanwhile_is_taken_back(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 9, -1)
    vma = mapping(k, "shared", spool=spool, reserve=0)
    assert vma.vm_file is not None
    inode = vma.vm_file.f_inode

    def other(kind: str, lock: Any) -> None:
        # Between the folio's charge and the commit of its reservation.
        if kind == "spin_unlock" and lock is k.hugetlb_lock:
            k.machine.lock_hook = None
            assert k.hugetlb_reserve_pages(inode, 0, 1, vma, vma.vm_flags)

    k.machine.lock_hook = other
    folio = alloc(k, vma)
    # Reserved by the mapping, and used by the page at once.
    assert k.counters() == (3, 2, 0, 0)
    assert spool.used_hpages == 1
    assert charges(k)[:2] == (512, 512)
    assert folio._hugetlb_cgroup_rsvd is None


def test_reservations_may_underflow_but_never_raise(k: Kernel) -> None:
    vma = mapping(k, "private", reserve=1)
    k.h.resv_huge_pages = 0
    alloc(k, vma)
    assert k.h.resv_huge_pages == ULONG_MAX
