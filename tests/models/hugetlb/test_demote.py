"""Demotion of 1 GiB pages to 2 MiB pages."""

from __future__ import annotations

import pytest

from models.kernel.errno import EBUSY, EINVAL, ENOENT
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.boot_memory([2048, 2048])
    kernel.nr_hugepages_store(kernel.hstates[1], 4)
    return kernel


def test_one_page_becomes_512(k: Kernel) -> None:
    small, large = k.hstates
    assert k.demote_store(large, 1) == 0
    assert (large.nr_huge_pages, large.max_huge_pages) == (3, 3)
    assert (small.nr_huge_pages, small.free_huge_pages, small.max_huge_pages) == (512, 512, 512)
    assert small.nr_huge_pages_node[:2] == [512, 0]
    front = k.list_first_entry(small.hugepage_freelists[0])
    assert (front.pfn, front.order, front.refcount, front.hugetlb) == (0, 9, 0, True)
    # They are pages like any other: all can go back to the page allocator.
    k.nr_hugepages_store(small, 0)
    assert k.zones[0].free.bit_count() == 512
    assert large.resize_lock.owner is small.resize_lock.owner is k.hugetlb_lock.owner is None


def test_nodes_take_turns(k: Kernel) -> None:
    large = k.hstates[1]
    assert k.demote_store(large, 1) == k.demote_store(large, 1) == 0
    assert large.nr_huge_pages_node[:2] == [1, 1]
    assert k.demote_store(large, 1, 1) == 0
    assert large.nr_huge_pages_node[:2] == [1, 0]


def test_as_many_as_there_are(k: Kernel) -> None:
    small, large = k.hstates
    assert k.demote_store(large, 9) == 0
    assert (large.nr_huge_pages, small.nr_huge_pages) == (0, 2048)
    assert k.demote_store(large, 1) == 0


def test_reserved_pages_are_not_demoted_unless_asked_for_in_one_go(k: Kernel) -> None:
    small, large = k.hstates
    large.resv_huge_pages = 4
    assert k.demote_store(large, 1) == 0
    assert (large.nr_huge_pages, small.nr_huge_pages) == (4, 0)
    # The check is made before each round only, and a round may take more than is available.
    large.resv_huge_pages = 3
    assert k.demote_store(large, 2) == 0
    assert large.nr_huge_pages == 2


def test_poisoned_pages_stay(k: Kernel) -> None:
    large = k.hstates[1]
    for nid in (0, 1):
        for folio in k.list_entries(large.hugepage_freelists[nid]):
            folio.hwpoison = True
    assert k.demote_store(large, 1) == -EBUSY
    assert large.nr_huge_pages == 4
    k.list_first_entry(large.hugepage_freelists[1]).hwpoison = False
    assert k.demote_store(large, 1) == 0
    assert large.nr_huge_pages_node[:2] == [2, 1]


def test_who_can_be_demoted_to_what(k: Kernel) -> None:
    small, large = k.hstates
    assert k.demote_store(small, 1) == -ENOENT
    assert k.demote_store(large, 1, 2) == -ENOENT
    assert k.demote_store(large, -1) == -EINVAL
    assert k.demote_size_store(large, 1 << 21) == 0
    assert k.demote_size_store(large, 1 << 30) == -EINVAL
    assert k.demote_size_store(large, 1 << 16) == -EINVAL
    assert k.demote_size_store(small, 1 << 21) == -ENOENT
    assert large.demote_order == 9
