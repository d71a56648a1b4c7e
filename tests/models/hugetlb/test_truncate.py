"""Truncation, holes, eviction and fallocate: which pages and which reservations go."""

from __future__ import annotations

from typing import Any

import pytest

from models.kernel.machine import KernelBug
from tests.models.booted import Booted

HPAGE = 2 << 20


@pytest.fixture
def k() -> Booted:
    booted = Booted()
    booted.do("spawn id=A", "mount mount=h", "open proc=A fd=f mount=h name=x")
    return booted


def inode(k: Booted) -> Any:
    return k.machine.tasks["A"].fds["f"].f_inode


def regions(k: Booted) -> list[tuple[int, int]]:
    """Reserved ranges of the file, in huge pages."""
    return [(one.from_, one.to) for one in k.list_entries(inode(k).resv_map.regions)]


def map_file(k: Booted, pages: int, kind: str = "shared") -> None:
    k.do(f"mmap proc=A map=m type={kind} len={pages} fd=f")


def test_truncation_frees_pages_and_reservations_beyond(k: Booted) -> None:
    map_file(k, 4)
    k.do("touch_write proc=A map=m page=0", "touch_write proc=A map=m page=2")
    assert k.pool == (4, 2, 2, 0)
    k.do("ftruncate proc=A fd=f len=1")
    assert (k.pool, regions(k)) == ((4, 3, 0, 0), [(0, 1)])
    assert k.file("A", "f") == {"size": 1, "blocks": 1, "nlink": 1}
    assert [page is None for page in k.pages("A", "m")] == [False, True, True, True]
    # Beyond the end of the file there is nothing to touch.
    assert k.try_("touch_read proc=A map=m page=1").signal == "SIGBUS"


def test_truncation_to_a_larger_size_gives_no_pages(k: Booted) -> None:
    k.do("ftruncate proc=A fd=f len=3")
    assert (k.pool, k.file("A", "f")["size"], regions(k)) == ((4, 4, 0, 0), 3, [])


def test_a_size_in_between_pages_is_invalid_and_changes_nothing(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=0 len=2")
    k.machine.current = k.machine.tasks["A"]
    assert k.sys_ftruncate("f", HPAGE + 4096) == -22
    assert k.sys_ftruncate("f", -1) == -22
    assert k.file("A", "f") == {"size": 2, "blocks": 2, "nlink": 1}


def test_a_hole_gives_up_the_reservations_of_pages_found_only(k: Booted) -> None:
    map_file(k, 4)
    k.do("touch_write proc=A map=m page=1")
    k.do("fallocate proc=A fd=f off=0 len=3 mode=punch_hole")
    assert (k.pool, regions(k)) == ((4, 4, 3, 0), [(0, 1), (2, 4)])
    assert k.file("A", "f") == {"size": 4, "blocks": 0, "nlink": 1}


def test_a_hole_unmaps_private_mappings_of_the_file_but_not_their_copies(k: Booted) -> None:
    map_file(k, 2, "private")
    k.do("fallocate proc=A fd=f off=0 len=2")
    k.do("touch_read proc=A map=m page=0", "touch_write proc=A map=m page=1")
    k.do("fallocate proc=A fd=f off=0 len=2 mode=punch_hole")
    # hugetlb_vmdelete_list() zaps whatever is mapped in the range, the private copy too.
    assert k.pages("A", "m") == [None, None]
    assert k.file("A", "f")["blocks"] == 0


def test_a_hole_removes_whole_pages_and_zeroes_the_beginnings_of_others(k: Booted) -> None:
    map_file(k, 3)
    for page in range(3):
        k.do(f"touch_write proc=A map=m page={page}")
    words = [k.try_(f"touch_read proc=A map=m page={page}").value for page in range(3)]
    assert 0 not in words
    assert k.hugetlbfs_punch_hole(inode(k), 4096, HPAGE) == 0
    # Page 0 from byte 4096 on, and the first 4096 bytes of page 1: none whole.
    assert k.file("A", "f")["blocks"] == 3
    seen = [k.try_(f"touch_read proc=A map=m page={page}").value for page in range(3)]
    assert seen == [words[0], 0, words[2]]
    assert k.hugetlbfs_punch_hole(inode(k), 4096, 2 * HPAGE) == 0
    assert k.file("A", "f")["blocks"] == 2


def test_fallocate_keeps_pages_allocated_before_one_failed(k: Booted) -> None:
    assert k.errno("fallocate proc=A fd=f off=0 len=5") == "ENOSPC"
    assert (k.pool[1], k.file("A", "f")) == (0, {"size": 0, "blocks": 4, "nlink": 1})
    # Locks were released, present pages are skipped.
    k.do("fallocate proc=A fd=f off=1 len=3")
    assert k.file("A", "f")["size"] == 4


def test_fallocate_may_keep_the_size(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=2 len=1 mode=keep_size")
    assert k.file("A", "f") == {"size": 0, "blocks": 1, "nlink": 1}


def test_fallocate_uses_the_reservations_of_the_file(k: Booted) -> None:
    map_file(k, 3)
    assert k.pool == (4, 4, 3, 0)
    k.do("fallocate proc=A fd=f off=0 len=2")
    assert (k.pool, regions(k)) == ((4, 2, 1, 0), [(0, 3)])


def test_fallocate_respects_the_mounts_limit() -> None:
    k = Booted()
    k.do("spawn id=A", "mount mount=h size=2", "open proc=A fd=f mount=h name=x")
    assert k.errno("fallocate proc=A fd=f off=0 len=3") == "ENOSPC"
    assert k.view["mounts"]["h"]["f_bfree"] == 0
    k.do("fallocate proc=A fd=f off=0 len=1 mode=punch_hole")
    assert k.view["mounts"]["h"]["f_bfree"] == 1


def test_sealed_files_cannot_be_changed(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=0 len=2")
    inode(k).seals = 2
    assert k.errno("ftruncate proc=A fd=f len=1") == "EPERM"
    k.do("ftruncate proc=A fd=f len=3")
    inode(k).seals = 4
    assert k.errno("ftruncate proc=A fd=f len=4") == "EPERM"
    assert k.errno("fallocate proc=A fd=f off=3 len=1") == "EPERM"
    k.do("fallocate proc=A fd=f off=2 len=1", "ftruncate proc=A fd=f len=1")
    inode(k).seals = 8
    assert k.errno("fallocate proc=A fd=f off=0 len=1 mode=punch_hole") == "EPERM"
    assert k.file("A", "f")["blocks"] == 1


def test_more_pages_than_a_batch_are_all_removed() -> None:
    k = Booted("nr_hugepages=70")
    k.do("spawn id=A", "mount mount=h", "open proc=A fd=f mount=h name=x")
    k.do("fallocate proc=A fd=f off=0 len=70", "ftruncate proc=A fd=f len=0")
    assert k.pool == (70, 70, 0, 0)


def test_a_page_mapped_again_is_unmapped_before_it_is_removed(k: Booted) -> None:
    map_file(k, 1)
    k.do("touch_write proc=A map=m page=0")
    folio = inode(k).i_mapping.pages[0]
    k.machine.current = k.machine.tasks["A"]
    assert folio.mapcount == 1
    assert k.remove_inode_single_folio(
        k.hstates[0], inode(k), inode(k).i_mapping, folio, 0, truncate_op=False
    )
    assert (folio.mapcount, k.pages("A", "m"), k.pool) == (0, [None], (4, 4, 0, 0))


def test_a_page_in_the_cache_must_not_hold_a_reservation(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=0 len=1")
    k.folio_set_hugetlb_restore_reserve(inode(k).i_mapping.pages[0])
    with pytest.raises(KernelBug, match="restore_reserve"):
        k.remove_inode_hugepages(inode(k), 0, HPAGE)


def test_when_the_map_cannot_be_split_the_reservation_is_counted_again(k: Booted) -> None:
    """hugetlb_unreserve_pages() fails, hugetlb_fix_reserve_counts() makes up for it."""
    map_file(k, 3)
    k.do("touch_write proc=A map=m page=1")
    inode(k).resv_map.region_cache_count = 0
    k.INIT_LIST_HEAD(inode(k).resv_map.region_cache)
    k.do("fail_kmalloc what=region count=1")
    k.do("fallocate proc=A fd=f off=1 len=1 mode=punch_hole")
    assert (k.pool, regions(k)) == ((4, 4, 3, 0), [(0, 3)])


def test_eviction_releases_the_map(k: Booted) -> None:
    map_file(k, 3)
    k.do("touch_write proc=A map=m page=0", "munmap proc=A map=m")
    resv_map = inode(k).resv_map
    assert (k.pool, k.list_empty(resv_map.region_cache)) == ((4, 3, 2, 0), False)
    k.do("unlink mount=h name=x", "close proc=A fd=f")
    assert k.pool == (4, 4, 0, 0)
    assert k.list_empty(resv_map.regions)
    assert k.list_empty(resv_map.region_cache)
