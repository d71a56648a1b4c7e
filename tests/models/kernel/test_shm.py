"""SysV segments: reserved when made, alive while attached."""

from __future__ import annotations

from tests.models.booted import Booted


def attached() -> Booted:
    k = Booted()
    k.do("spawn id=A", "shmget shm=s len=3", "shmat proc=A shm=s map=m")
    return k


def test_a_segment_is_reserved_for_when_it_is_made() -> None:
    k = Booted()
    assert k.errno("shmget shm=s len=5") == "ENOMEM"
    assert k.errno("shmget shm=s len=0") == "EINVAL"
    k.do("shmget shm=s len=3", "shmget shm=t len=9 noreserve=1")
    assert k.pool == (4, 4, 3, 0)
    assert k.refused("shmget shm=s len=1")
    k.do("shm_rmid shm=s", "shm_rmid shm=t")
    assert k.pool == (4, 4, 0, 0)
    assert k.errno("shm_rmid shm=s") == "EINVAL"


def test_a_removed_segment_goes_with_its_last_attachment() -> None:
    k = attached()
    k.do("touch_write proc=A map=m page=1", "fork proc=A child=B", "shm_rmid shm=s")
    segment = k.shm_orphans[0]
    assert (segment.nattch, segment.dest) == (2, True)
    assert k.refused("shmat proc=A shm=s map=n")
    k.do("exit proc=A")
    assert (k.pool, segment.nattch) == ((4, 3, 2, 0), 1)
    assert k.try_("touch_read proc=B map=m page=1").value == 4
    k.do("munmap proc=B map=m")
    assert (k.pool, k.shm_orphans) == ((4, 4, 0, 0), [])


def test_splitting_an_attachment_counts_as_one_more() -> None:
    k = attached()
    segment = k.shm_ids["s"]
    assert segment.nattch == 1
    k.do("munmap proc=A map=m start=1 len=1")
    assert segment.nattch == 2
    k.do("munmap proc=A map=m")
    assert (segment.nattch, k.pool) == (0, (4, 4, 3, 0))


def test_the_segments_operations_wrap_those_of_hugetlbfs() -> None:
    k = attached()
    vma = k.machine.tasks["A"].mm.vmas[0]
    assert vma.vm_ops is k.shm_vm_ops
    assert k.shm_file_data(vma).vm_ops is k.hugetlb_vm_ops
    assert vma.vm_ops.pagesize(vma) == 2 << 20
    # Two files of one inode: the segment's own and the attachment's.
    assert vma.vm_file is not k.shm_ids["s"].shm_file
    assert vma.vm_file.f_inode is k.shm_ids["s"].shm_file.f_inode


def test_a_failed_attachment_leaves_the_segment_as_it_was() -> None:
    k = Booted()
    k.do("spawn id=A", "shmget shm=s len=1", "fail_kmalloc what=vma count=1")
    assert k.errno("shmat proc=A shm=s map=m") == "ENOMEM"
    segment = k.shm_ids["s"]
    assert (segment.nattch, segment.shm_file.f_count, k.pool[2]) == (0, 1, 1)
    k.do("shmat proc=A shm=s map=m")


def test_segments_of_gigantic_pages() -> None:
    k = Booted("hstates=2M,1G nr_hugepages=1 nr_hugepages_1g=2")
    k.do("spawn id=A", "shmget shm=s len=2 size=1G", "shmat proc=A shm=s map=m")
    k.do("touch_write proc=A map=m page=1")
    assert (k.hstates[1].free_huge_pages, k.hstates[1].resv_huge_pages) == (1, 1)
