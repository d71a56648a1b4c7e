"""The page allocator: capacity, order of nodes, alignment, failures."""

from __future__ import annotations

import pytest

from models.kernel.gfp import _GFP_COMP, _GFP_THISNODE
from models.kernel.machine import KernelBug
from tests.models.linked import Kernel

GFP = _GFP_COMP


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.boot_memory([4, 6])
    return kernel


def test_a_node_gives_what_it_has_and_then_the_next_one_does(k: Kernel) -> None:
    folios = [k._folio_alloc(GFP, 9, 0, None) for _ in range(5)]
    assert [f.nid for f in folios] == [0, 0, 1, 1, 1]
    assert [f.pfn >> 9 for f in folios] == [0, 1, 2, 3, 4]
    assert [f.refcount for f in folios] == [1] * 5
    assert k._folio_alloc(GFP, 9, 0, None) is None


def test_masks_and_flags_confine_it(k: Kernel) -> None:
    assert k._folio_alloc(GFP, 9, 0, 0b10).nid == 1
    assert [k._folio_alloc(GFP | _GFP_THISNODE, 9, 0, None) is None for _ in range(3)] == [
        False,
        False,
        True,
    ]
    k.task.mems_allowed = 0b01
    assert k._folio_alloc(GFP, 9, 1, None) is None
    assert k._folio_alloc(GFP, 9, 1, 0b10) is None


def test_what_is_freed_can_be_had_again_but_not_freed_twice(k: Kernel) -> None:
    first, second = k._folio_alloc(GFP, 9, 0, None), k._folio_alloc(GFP, 9, 0, None)
    k.folio_put(first)
    assert k._folio_alloc(GFP, 9, 0, None).pfn == first.pfn
    k.free_unref_page(second, 9)
    with pytest.raises(KernelBug, match="free already"):
        k.free_unref_page(second, 9)


def test_failures_are_counted_by_node_and_in_all(k: Kernel) -> None:
    k.fail("buddy.0", 2)
    assert [k._folio_alloc(GFP, 9, 0, None).nid for _ in range(3)] == [1, 1, 0]
    k.fail("buddy")
    assert k._folio_alloc(GFP, 9, 1, None) is None
    assert k._folio_alloc(GFP, 9, 1, None).nid == 1


def test_a_gigantic_page_needs_an_aligned_range_without_huge_pages(k: Kernel) -> None:
    # Node 0 ends in the middle of a gigabyte, so that node 1 has one less than its size.
    k.boot_memory([1536, 2048])
    first = k.alloc_contig_pages(1 << 18, GFP, 0, None)
    assert (first.pfn, first.nid, first.order) == (0, 0, 18)
    second = k.folio_alloc_gigantic(18, GFP, 0, None)
    assert (second.pfn, second.nid) == (2 << 18, 1)
    assert k.folio_alloc_gigantic(18, GFP, 0, None) is None
    k.folio_put(first)
    small = k._folio_alloc(GFP, 9, 0, None)
    assert small.pfn == 0
    assert k.folio_alloc_gigantic(18, GFP | _GFP_THISNODE, 0, None) is None
    k.folio_put(small)
    assert k.folio_alloc_gigantic(18, GFP | _GFP_THISNODE, 0, None).pfn == 0


def test_a_gigantic_request_fails_on_demand_and_warns_of_nonsense(k: Kernel) -> None:
    k.boot_memory([1024, 1024])
    k.fail("buddy.0")
    assert k.folio_alloc_gigantic(18, GFP, 0, 0b01) is None
    assert k.folio_alloc_gigantic(18, GFP, 0, 0b01).nid == 0
    assert k.folio_alloc_gigantic(18, 0, 0, None) is None
    assert k.machine.warnings == ["!order || !(gfp & __GFP_COMP)"]


def test_poisoned_base_pages_never_come_back(k: Kernel) -> None:
    folio = k._folio_alloc(GFP, 9, 0, None)
    folio.raw_hwp = (17,)
    k.folio_put(folio)
    assert k._folio_alloc(GFP, 9, 0, None).pfn == 1 << 9
    assert k._folio_alloc(GFP | _GFP_THISNODE, 9, 0, None) is None


def test_requests_and_frees_are_effects(k: Kernel) -> None:
    k.machine.effects = []
    k.folio_put(k._folio_alloc(GFP, 9, 1, 0b11))
    assert k.machine.effects == [
        f"alloc_pages order=9 nid=1 mask=3 gfp={GFP:#x}",
        "free_pages order=9 nid=1",
    ]
