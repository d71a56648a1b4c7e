"""Reserving and unreserving: every step that fails undoes those before it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from models.hugetlb.structs import HPAGE_RESV_OWNER
from models.kernel.errno import ENOMEM
from models.kernel.machine import LONG_MAX
from models.kernel.structs import VM_HUGETLB, VM_MAYSHARE, VM_NORESERVE, VM_SHARED, VmArea
from tests.models.linked import Kernel

HPAGE = 2 << 20
BLOCKS = HPAGE // 512


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.pool(4)
    kernel.cgroup_mkdir("a")
    kernel.cgroup_attach_task("a", kernel.task)
    return kernel


def make_vma(k: Kernel, inode: Any, *, shared: bool) -> Any:
    vma: Any = VmArea(None, 8 * HPAGE, 16 * HPAGE, VM_HUGETLB)
    vma.vm_file = SimpleNamespace(f_inode=inode, f_mapping=SimpleNamespace(host=inode))
    if shared:
        vma.vm_flags |= VM_SHARED | VM_MAYSHARE
    return vma


def cg(k: Kernel) -> Any:
    return k.cgroup_lookup("a").hugetlb.cgroup


def rsvd(k: Kernel) -> int:
    """Huge pages of reservations charged to the cgroup."""
    return int(cg(k).rsvd_hugepage[0].usage) // 512


def test_a_shared_mapping_reserves_what_the_file_lacks(k: Kernel) -> None:
    inode = k.inode()
    assert k.hugetlb_reserve_pages(inode, 0, 2, make_vma(k, inode, shared=True), 0)
    assert (k.h.resv_huge_pages, rsvd(k), cg(k).css.refcount) == (2, 2, 2)
    assert k.hugetlb_reserve_pages(inode, 1, 3, make_vma(k, inode, shared=True), 0)
    assert k.regions(inode.resv_map) == [(0, 3)]
    assert (k.h.resv_huge_pages, rsvd(k), cg(k).css.refcount) == (3, 3, 2)
    assert k.hugetlb_reserve_pages(inode, 0, 3, make_vma(k, inode, shared=True), 0)
    assert (k.h.resv_huge_pages, rsvd(k), cg(k).css.refcount) == (3, 3, 2)
    assert inode.resv_map.adds_in_progress == 0


def test_without_a_vma_it_is_as_shared(k: Kernel) -> None:
    inode = k.inode()
    assert k.hugetlb_reserve_pages(inode, 0, 4, None, 0)
    assert k.regions(inode.resv_map) == [(0, 4)]
    assert not k.hugetlb_reserve_pages(inode, 4, 5, None, 0)
    assert (k.h.resv_huge_pages, inode.resv_map.adds_in_progress) == (4, 0)


def test_a_private_mapping_reserves_its_length_and_owns_a_map(k: Kernel) -> None:
    inode = k.inode()
    vma = make_vma(k, inode, shared=False)
    assert k.hugetlb_reserve_pages(inode, 0, 3, vma, 0)
    resv = k.vma_resv_map(vma)
    assert k.is_vma_resv_set(vma, HPAGE_RESV_OWNER)
    assert (k.regions(resv), k.regions(inode.resv_map)) == ([], [])
    assert resv.reservation_counter is cg(k).rsvd_hugepage[0]
    assert (resv.pages_per_hpage, resv.css is cg(k).css) == (512, True)
    assert (k.h.resv_huge_pages, rsvd(k), cg(k).css.refcount) == (3, 3, 2)
    k.hugetlb_cgroup_uncharge_counter(resv, 0, 3)
    assert (rsvd(k), cg(k).css.refcount) == (0, 1)


def test_noreserve_only_makes_the_lock(k: Kernel) -> None:
    inode = k.inode()
    vma = make_vma(k, inode, shared=True)
    assert k.hugetlb_reserve_pages(inode, 0, 99, vma, VM_NORESERVE)
    assert vma.vm_private_data.vma is vma
    assert (k.h.resv_huge_pages, rsvd(k), k.regions(inode.resv_map)) == (0, 0, [])


def test_a_negative_range_warns(k: Kernel) -> None:
    assert not k.hugetlb_reserve_pages(k.inode(), 2, 1, None, 0)
    assert len(k.names["machine"].warnings) == 1


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("cause", ["pool", "subpool", "cgroup", "region", "limit"])
def test_a_failure_leaves_nothing_behind(k: Kernel, shared: bool, cause: str) -> None:
    spool = k.hugepage_new_subpool(k.h, 9 if cause != "subpool" else 2, -1)
    inode = k.inode(spool)
    vma = make_vma(k, inode, shared=shared)
    length = 3
    if cause == "pool":
        length = 5
    elif cause == "cgroup":
        k.fail("charge_hugetlb_rsvd")
    elif cause == "limit":
        assert k.cgroup_file_write("a", "hugetlb.2MB.rsvd.max", str(2 * HPAGE)) == 0
    elif cause == "region":
        # A shared map has one entry, which is enough: use it up.
        k.region_chg(inode.resv_map, 50, 51, [0])
        k.fail("kmalloc_region")
    before = inode.resv_map.adds_in_progress
    assert not k.hugetlb_reserve_pages(inode, 0, length, vma, 0)
    assert k.counters() == (4, 4, 0, 0)
    assert spool.used_hpages == 0
    assert (rsvd(k), cg(k).css.refcount) == (0, 1)
    assert inode.resv_map.adds_in_progress == before
    assert (vma.vm_private_data, vma.vm_private_flags) == (None, 0)
    assert cg(k).events == [1 if cause in ("cgroup", "limit") else 0, 0]


def test_an_addition_that_fails_gives_back_pool_subpool_and_charge(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 4, -1)
    inode = k.inode(spool)
    resv = inode.resv_map
    hook_calls: list[str] = []

    def hook(kind: str, lock: Any) -> None:
        # Another task enters the middle of the range once region_chg is done.
        if kind == "spin_lock" and lock is spool.lock and not hook_calls:
            hook_calls.append(kind)
            k.names["machine"].lock_hook = None
            k.region_chg(resv, 1, 2, [0])
            k.region_add(resv, 1, 2, 1, None, None)
            k.fail("kmalloc_region")

    k.names["machine"].lock_hook = hook
    assert not k.hugetlb_reserve_pages(inode, 0, 3, None, 0)
    assert hook_calls == ["spin_lock"]
    assert (k.h.resv_huge_pages, spool.used_hpages, rsvd(k)) == (0, 0, 0)
    assert (k.regions(resv), resv.adds_in_progress) == ([(1, 2)], 0)


def test_pages_that_a_fault_entered_meanwhile_are_given_back(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 4, -1)
    inode = k.inode(spool)
    resv = inode.resv_map

    def hook(kind: str, lock: Any) -> None:
        if kind == "spin_lock" and lock is spool.lock:
            k.names["machine"].lock_hook = None
            k.region_chg(resv, 2, 3, [0])
            k.region_add(resv, 2, 3, 1, None, None)

    k.names["machine"].lock_hook = hook
    assert k.hugetlb_reserve_pages(inode, 0, 3, None, 0)
    # Two of three: the third is the fault's to account for.
    assert (k.h.resv_huge_pages, spool.used_hpages, rsvd(k)) == (2, 2, 2)
    assert k.regions(resv) == [(0, 2), (2, 3)]


# ---- unreserve ----


def test_unreserve_gives_back_what_was_reserved_and_not_freed(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 4, -1)
    inode = k.inode(spool)
    assert k.hugetlb_reserve_pages(inode, 0, 4, None, 0)
    inode.i_blocks = 2 * BLOCKS
    assert k.hugetlb_unreserve_pages(inode, 1, LONG_MAX, 1) == 0
    assert (k.h.resv_huge_pages, spool.used_hpages, rsvd(k)) == (2, 2, 1)
    assert (inode.i_blocks, k.regions(inode.resv_map)) == (BLOCKS, [(0, 1)])


def test_unreserve_that_cannot_split_changes_nothing(k: Kernel) -> None:
    inode = k.inode()
    assert k.hugetlb_reserve_pages(inode, 0, 4, None, 0)
    inode.i_blocks = BLOCKS
    k.fail("kmalloc_region")
    assert k.hugetlb_unreserve_pages(inode, 1, 2, 1) == -ENOMEM
    assert (k.h.resv_huge_pages, inode.i_blocks) == (4, BLOCKS)
    assert k.regions(inode.resv_map) == [(0, 4)]


def test_unreserve_of_an_inode_without_a_map(k: Kernel) -> None:
    inode = k.inode()
    inode.resv_map = None
    assert k.hugetlb_unreserve_pages(inode, 0, LONG_MAX, 0) == 0
    assert k.counters() == (4, 4, 0, 0)


def test_fix_reserve_counts_reserves_one_page(k: Kernel) -> None:
    k.hugetlb_fix_reserve_counts(k.inode())
    assert k.h.resv_huge_pages == 1
    spool = k.hugepage_new_subpool(k.h, -1, 2)
    assert k.h.resv_huge_pages == 3
    k.hugetlb_fix_reserve_counts(k.inode(spool))
    # The subpool had it.
    assert (k.h.resv_huge_pages, spool.rsv_hpages) == (3, 1)


def test_fix_reserve_counts_says_when_it_cannot(k: Kernel) -> None:
    k.pool(0)
    k.names["machine"].effects = []
    k.hugetlb_fix_reserve_counts(k.inode())
    assert k.h.resv_huge_pages == 0
    assert any("may go negative" in text for text in k.names["machine"].effects)
