"""hugetlbfs: mapping, making and sizing files."""

from __future__ import annotations

from typing import Any

import pytest

from models.hugetlb.inode import HUGETLB_ANONHUGE_INODE, HUGETLB_SHMFS_INODE, PGOFF_LOFFT_MAX
from models.kernel.errno import EINVAL, ENODEV, ENOMEM
from models.kernel.fs import S_PRIVATE
from models.kernel.structs import (
    VM_DONTEXPAND,
    VM_HUGETLB,
    VM_MAYSHARE,
    VM_NORESERVE,
    VM_SHARED,
    VM_WRITE,
    VmArea,
)
from tests.models.booted import Booted

HPAGE = 2 << 20
SHARED = VM_SHARED | VM_MAYSHARE


@pytest.fixture
def k() -> Booted:
    booted = Booted()
    booted.do("spawn id=A", "mount mount=h", "open proc=A fd=f mount=h name=x")
    return booted


def vma_of(k: Booted, pages: int, pgoff: int, flags: int) -> tuple[Any, Any]:
    task = k.machine.tasks["A"]
    file = task.fds["f"]
    vma = VmArea(task.mm, 64 * HPAGE, (64 + pages) * HPAGE, flags)
    vma.vm_pgoff = pgoff
    vma.vm_file = file
    return file, vma


def test_a_writable_mapping_makes_the_file_longer_a_readable_one_does_not(k: Booted) -> None:
    file, vma = vma_of(k, 2, 512, SHARED)
    assert k.hugetlbfs_file_mmap(file, vma) == 0
    assert (file.f_inode.i_size, k.pool[2]) == (0, 2)
    assert vma.vm_flags & (VM_HUGETLB | VM_DONTEXPAND) == VM_HUGETLB | VM_DONTEXPAND
    assert vma.vm_ops is k.hugetlb_vm_ops
    file, vma = vma_of(k, 2, 512, SHARED | VM_WRITE)
    assert k.hugetlbfs_file_mmap(file, vma) == 0
    assert (file.f_inode.i_size, k.pool[2]) == (3 * HPAGE, 2)


@pytest.mark.parametrize(
    "pgoff", [1, 511, 513, PGOFF_LOFFT_MAX & -PGOFF_LOFFT_MAX, (1 << 51) - 512]
)
def test_an_offset_that_is_odd_or_too_large_is_invalid(k: Booted, pgoff: int) -> None:
    file, vma = vma_of(k, 1, pgoff, SHARED)
    assert k.hugetlbfs_file_mmap(file, vma) == -EINVAL
    assert k.pool[2] == 0


def test_without_enough_pages_the_file_keeps_its_size(k: Booted) -> None:
    file, vma = vma_of(k, 5, 0, SHARED | VM_WRITE)
    assert k.hugetlbfs_file_mmap(file, vma) == -ENOMEM
    assert (file.f_inode.i_size, k.pool[2]) == (0, 0)
    # The inode's semaphore was released.
    file, vma = vma_of(k, 5, 0, SHARED | VM_WRITE | VM_NORESERVE)
    assert k.hugetlbfs_file_mmap(file, vma) == 0
    assert (file.f_inode.i_size, k.pool[2]) == (5 * HPAGE, 0)


def test_the_kernels_own_files_are_not_reserved_again_when_mapped(k: Booted) -> None:
    file = k.hugetlb_file_setup("shm", 2 * HPAGE, 0, HUGETLB_SHMFS_INODE, 21)
    assert (file.f_inode.i_flags & S_PRIVATE, file.f_inode.i_nlink, k.pool[2]) == (S_PRIVATE, 0, 2)
    _, vma = vma_of(k, 4, 0, SHARED | VM_WRITE)
    vma.vm_file = file
    assert k.hugetlbfs_file_mmap(file, vma) == 0
    assert (file.f_inode.i_size, k.pool[2]) == (4 * HPAGE, 2)


def test_a_file_without_a_name_needs_its_hstate_and_its_pages(k: Booted) -> None:
    inodes = len(k.hugetlbfs_vfsmount[0].inodes)
    assert k.hugetlb_file_setup("a", HPAGE, 0, HUGETLB_ANONHUGE_INODE, 30) == -ENODEV
    assert k.hugetlb_file_setup("a", 5 * HPAGE, 0, HUGETLB_ANONHUGE_INODE, 0) == -ENOMEM
    # The inode that could not be reserved for is gone again.
    assert len(k.hugetlbfs_vfsmount[0].inodes) == inodes
    file = k.hugetlb_file_setup("a", 5 * HPAGE, VM_NORESERVE, HUGETLB_ANONHUGE_INODE, 0)
    assert (file.f_inode.i_size, k.pool[2]) == (5 * HPAGE, 0)


def test_each_hstate_has_a_mount_of_the_kernels_own() -> None:
    k = Booted("hstates=2M,1G nr_hugepages=1 nr_hugepages_1g=1")
    assert [sb.hstate.order for sb in k.hugetlbfs_vfsmount] == [9, 18]
    k.do("spawn id=A", "mmap proc=A map=m type=private len=1 size=1G")
    assert k.errno("mmap proc=A map=n type=private len=1 size=1G") == "ENOMEM"
    assert (k.hstates[1].resv_huge_pages, k.pool[2]) == (1, 0)


def test_an_inode_without_memory_for_its_map_is_not_made(k: Booted) -> None:
    k.do("fail_kmalloc what=resv_map count=1")
    assert k.errno("open proc=A fd=g mount=h name=y") == "ENOSPC"
    k.do("open proc=A fd=g mount=h name=y")


def test_a_superblock_without_memory_for_its_subpool_is_not_made(k: Booted) -> None:
    k.do("fail_kmalloc what=subpool count=1")
    assert k.errno("mount mount=i size=1") == "ENOMEM"
    assert "i" not in k.view["mounts"]
