"""The reservation of single pages of a vma, and the lock of a shared one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from models.hugetlb.structs import (
    HPAGE_RESV_OWNER,
    HPAGE_RESV_UNMAPPED,
    HPG_RESTORE_RESERVE,
)
from models.kernel.errno import ENOMEM
from models.kernel.machine import KernelBug
from models.kernel.structs import VM_HUGETLB, VM_MAYSHARE, VM_SHARED, VmArea
from tests.models.linked import Kernel

HPAGE = 2 << 20


@pytest.fixture
def k() -> Kernel:
    return Kernel()


def make_vma(k: Kernel, *, shared: bool, owner: bool = True) -> Any:
    """Four huge pages, from offset 1 of a file."""
    vma: Any = VmArea(None, 8 * HPAGE, 12 * HPAGE, VM_HUGETLB)
    inode = k.inode()
    vma.vm_file = SimpleNamespace(f_inode=inode, f_mapping=SimpleNamespace(host=inode))
    vma.vm_pgoff = 512
    if shared:
        vma.vm_flags |= VM_SHARED | VM_MAYSHARE
    elif owner:
        k.set_vma_resv_map(vma, k.resv_map_alloc())
        k.set_vma_resv_flags(vma, HPAGE_RESV_OWNER)
    return vma


def at(page: int) -> int:
    return (8 + page) * HPAGE


def test_without_a_map_a_reservation_is_needed_and_nothing_happens(k: Kernel) -> None:
    vma = make_vma(k, shared=False, owner=False)
    for call in (
        k.vma_needs_reservation,
        k.vma_commit_reservation,
        k.vma_add_reservation,
        k.vma_del_reservation,
    ):
        assert call(k.h, vma, at(0)) == 1


def test_a_shared_map_says_what_is_reserved(k: Kernel) -> None:
    vma = make_vma(k, shared=True)
    resv = k.vma_resv_map(vma)
    assert resv is vma.vm_file.f_inode.resv_map
    assert k.vma_needs_reservation(k.h, vma, at(1)) == 1
    assert resv.adds_in_progress == 1
    assert k.vma_commit_reservation(k.h, vma, at(1)) == 1
    assert k.regions(resv) == [(2, 3)]
    assert k.vma_needs_reservation(k.h, vma, at(1)) == 0
    k.vma_end_reservation(k.h, vma, at(1))
    assert resv.adds_in_progress == 0


def test_a_private_map_says_what_was_used(k: Kernel) -> None:
    vma = make_vma(k, shared=False)
    resv = k.vma_resv_map(vma)
    assert k.vma_needs_reservation(k.h, vma, at(0)) == 0
    assert k.vma_commit_reservation(k.h, vma, at(0)) == 0
    assert k.regions(resv) == [(1, 2)]
    assert k.vma_needs_reservation(k.h, vma, at(0)) == 1
    # Adding the reservation back takes the entry out; what del says is not reversed.
    assert k.vma_add_reservation(k.h, vma, at(0)) == 0
    assert k.regions(resv) == []
    assert k.vma_needs_reservation(k.h, vma, at(0)) == 0
    assert k.vma_del_reservation(k.h, vma, at(0)) == 1
    assert k.regions(resv) == [(1, 2)]
    assert resv.adds_in_progress == 0


def test_needs_without_memory(k: Kernel) -> None:
    vma = make_vma(k, shared=False)
    k.vma_needs_reservation(k.h, vma, at(0))
    k.vma_commit_reservation(k.h, vma, at(0))
    k.fail("kmalloc_region")
    assert k.vma_needs_reservation(k.h, vma, at(2)) == -ENOMEM


@pytest.mark.parametrize(
    ("shared", "entry", "restore", "entry_after", "restore_after"),
    [
        # The page used a reservation: the map must show one again.
        (True, True, True, True, True),
        (True, False, True, True, True),
        (False, True, True, False, True),
        (False, False, True, False, True),
        # It used none: the allocation's entry goes where there is one (shared), and in a private
        # map the missing entry is made.
        (True, True, False, False, False),
        (True, False, False, False, False),
        (False, True, False, True, False),
        (False, False, False, True, False),
    ],
)
def test_restore_reserve_on_error(
    k: Kernel, shared: bool, entry: bool, restore: bool, entry_after: bool, restore_after: bool
) -> None:
    vma = make_vma(k, shared=shared)
    resv = k.vma_resv_map(vma)
    if entry:
        k.vma_needs_reservation(k.h, vma, at(0))
        k.vma_commit_reservation(k.h, vma, at(0))
    folio = k.new_folio(0, 0, 9)
    folio.hpg = HPG_RESTORE_RESERVE if restore else 0
    k.restore_reserve_on_error(k.h, vma, at(0), folio)
    assert k.regions(resv) == ([(1, 2)] if entry_after else [])
    assert (folio.hpg & HPG_RESTORE_RESERVE != 0) == restore_after
    assert resv.adds_in_progress == 0


@pytest.mark.parametrize(
    ("shared", "restore", "restore_after"),
    [(True, True, False), (False, True, False), (True, False, False), (False, False, True)],
)
def test_restore_reserve_on_error_without_memory(
    k: Kernel, shared: bool, restore: bool, restore_after: bool
) -> None:
    vma = make_vma(k, shared=shared)
    resv = k.vma_resv_map(vma)
    k.vma_needs_reservation(k.h, vma, at(2))
    k.vma_commit_reservation(k.h, vma, at(2))
    assert resv.region_cache_count == 0
    folio = k.new_folio(0, 0, 9)
    folio.hpg = HPG_RESTORE_RESERVE if restore else 0
    k.fail("kmalloc_region")
    k.restore_reserve_on_error(k.h, vma, at(0), folio)
    assert (folio.hpg & HPG_RESTORE_RESERVE != 0) == restore_after
    assert (k.regions(resv), resv.adds_in_progress) == ([(3, 4)], 0)


def test_restore_reserve_on_error_splits_with_the_entry_of_its_own_addition(k: Kernel) -> None:
    vma = make_vma(k, shared=True)
    resv = k.vma_resv_map(vma)
    needed = [0]
    k.region_chg(resv, 0, 4, needed)
    k.region_add(resv, 0, 4, needed[0], None, None)
    assert resv.region_cache_count == 0
    folio = k.new_folio(0, 0, 9)
    k.restore_reserve_on_error(k.h, vma, at(0), folio)
    assert k.regions(resv) == [(0, 1), (2, 4)]
    assert (resv.region_cache_count, resv.adds_in_progress) == (0, 0)


# ---- private data ----


def test_flags_of_a_private_vma(k: Kernel) -> None:
    vma = make_vma(k, shared=False)
    assert k.is_vma_resv_set(vma, HPAGE_RESV_OWNER)
    assert not k.is_vma_resv_set(vma, HPAGE_RESV_UNMAPPED)
    assert k._vma_private_lock(vma)
    k.set_vma_resv_flags(vma, HPAGE_RESV_UNMAPPED)
    assert k.is_vma_resv_set(vma, HPAGE_RESV_OWNER)
    k.set_vma_resv_map(vma, None)
    assert not k.is_vma_resv_set(vma, HPAGE_RESV_OWNER | HPAGE_RESV_UNMAPPED)
    k.set_vma_resv_flags(vma, HPAGE_RESV_UNMAPPED)
    # A child that lost its pages has the bit, but no map.
    assert k.vma_resv_map(vma) is None
    assert not k._vma_private_lock(vma)


def test_a_shared_vma_has_no_map_of_its_own(k: Kernel) -> None:
    vma = make_vma(k, shared=True)
    with pytest.raises(KernelBug, match="VM_MAYSHARE"):
        k.set_vma_resv_map(vma, None)
    with pytest.raises(KernelBug, match="VM_MAYSHARE"):
        k.set_vma_resv_flags(vma, HPAGE_RESV_OWNER)
    vma.vm_flags &= ~VM_HUGETLB
    with pytest.raises(KernelBug, match="is_vm_hugetlb_page"):
        k.vma_resv_map(vma)


def test_fork_takes_the_reservation_from_the_child_only(k: Kernel) -> None:
    vma = make_vma(k, shared=False)
    resv = k.vma_resv_map(vma)
    k.hugetlb_dup_vma_private(vma)
    assert (vma.vm_private_data, vma.vm_private_flags) == (None, 0)
    assert resv.refs == 1


def test_a_copied_shared_vma_forgets_the_lock_of_another_but_not_its_own(k: Kernel) -> None:
    vma, copy = make_vma(k, shared=True), make_vma(k, shared=True)
    k.hugetlb_vma_lock_alloc(vma)
    lock = vma.vm_private_data
    k.hugetlb_dup_vma_private(vma)
    assert vma.vm_private_data is lock
    copy.vm_private_data = lock
    k.hugetlb_dup_vma_private(copy)
    assert copy.vm_private_data is None


def test_mremap_drops_one_share_of_map_and_css(k: Kernel) -> None:
    k.cgroup_mkdir("a")
    h_cg = k.cgroup_lookup("a").hugetlb.cgroup
    vma = make_vma(k, shared=False)
    resv = k.vma_resv_map(vma)
    k.css_get(h_cg.css)
    k.resv_map_set_hugetlb_cgroup_uncharge_info(resv, h_cg, k.h)
    k.kref_get(resv)
    k.resv_map_dup_hugetlb_cgroup_uncharge_info(resv)
    assert h_cg.css.refcount == 3
    k.clear_vma_resv_huge_pages(vma)
    assert (resv.refs, h_cg.css.refcount) == (1, 2)
    assert (vma.vm_private_data, vma.vm_private_flags) == (None, 0)


# ---- the lock ----


def test_the_lock_of_a_shared_vma(k: Kernel) -> None:
    vma = make_vma(k, shared=True)
    # None yet: taking it is a no-op.
    k.hugetlb_vma_lock_read(vma)
    k.hugetlb_vma_unlock_read(vma)
    assert k.hugetlb_vma_trylock_write(vma)
    k.hugetlb_vma_lock_alloc(vma)
    sem = vma.vm_private_data.rw_sema
    with pytest.raises(KernelBug, match="lockdep"):
        k.hugetlb_vma_assert_locked(vma)
    k.hugetlb_vma_lock_read(vma)
    assert sem.readers == 1
    k.hugetlb_vma_assert_locked(vma)
    assert not k.hugetlb_vma_trylock_write(vma)
    k.hugetlb_vma_unlock_read(vma)
    assert k.hugetlb_vma_trylock_write(vma)
    assert sem.writer is not None
    k.hugetlb_vma_unlock_write(vma)
    k.hugetlb_vma_lock_write(vma)
    lock = vma.vm_private_data
    k._hugetlb_vma_unlock_write_free(vma)
    assert (vma.vm_private_data, lock.vma, lock.refs, sem.writer) == (None, None, 0, None)


def test_the_map_is_the_lock_of_a_private_owner(k: Kernel) -> None:
    vma = make_vma(k, shared=False)
    sem = k.vma_resv_map(vma).rw_sema
    k.hugetlb_vma_lock_write(vma)
    assert sem.writer is not None
    k._hugetlb_vma_unlock_write_free(vma)
    assert sem.writer is None
    assert k.vma_resv_map(vma) is not None
    k.hugetlb_vma_lock_read(vma)
    assert sem.readers == 1
    k.hugetlb_vma_assert_locked(vma)
    k.hugetlb_vma_unlock_read(vma)
    # Nothing to take away.
    k.hugetlb_vma_lock_free(vma)
    assert k.vma_resv_map(vma) is not None


def test_allocating_the_lock(k: Kernel) -> None:
    private = make_vma(k, shared=False, owner=False)
    k.hugetlb_vma_lock_alloc(private)
    assert private.vm_private_data is None
    k.hugetlb_vma_lock_alloc(None)
    shared = make_vma(k, shared=True)
    k.fail("kmalloc_vma_lock")
    k.hugetlb_vma_lock_alloc(shared)
    assert shared.vm_private_data is None
    k.hugetlb_vma_lock_alloc(shared)
    lock = shared.vm_private_data
    k.hugetlb_vma_lock_alloc(shared)
    assert shared.vm_private_data is lock
    k.hugetlb_vma_lock_free(shared)
    assert shared.vm_private_data is None
    k.hugetlb_vma_lock_free(shared)
    k.hugetlb_vma_lock_free(None)
