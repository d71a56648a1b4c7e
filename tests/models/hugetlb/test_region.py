"""Reservation maps: what each call does to the regions, the cache and the counts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.hugetlb.structs import FileRegion, ResvMap
from models.kernel.errno import ENOMEM
from models.kernel.machine import LONG_MAX, KernelBug
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    return Kernel()


def add(k: Kernel, resv: ResvMap, f: int, t: int, h_cg: Any = None) -> int:
    needed = [0]
    chg = k.region_chg(resv, f, t, needed)
    done = k.region_add(resv, f, t, needed[0], k.h, h_cg)
    assert chg == done
    return int(done)


def test_a_new_map_has_one_cached_entry_and_no_region(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    assert (k.regions(resv), resv.region_cache_count, resv.adds_in_progress) == ([], 1, 0)
    assert resv.refs == 1


@pytest.mark.parametrize("point", ["kmalloc_resv_map", "kmalloc_region"])
def test_a_map_needs_memory_for_itself_and_its_first_entry(k: Kernel, point: str) -> None:
    k.fail(point)
    assert k.resv_map_alloc() is None
    assert k.resv_map_alloc() is not None


def test_chg_counts_the_gaps_and_changes_nothing_but_the_cache(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 2, 4)
    add(k, resv, 6, 7)
    needed = [99]
    assert k.region_chg(resv, 0, 10, needed) == 7
    assert needed == [3]
    assert k.regions(resv) == [(2, 4), (6, 7)]
    assert resv.adds_in_progress == 3
    assert resv.region_cache_count >= 3
    k.region_abort(resv, 0, 10, 3)
    assert resv.adds_in_progress == 0


def test_chg_asks_for_one_entry_even_when_nothing_is_missing(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 0, 4)
    needed = [0]
    assert k.region_chg(resv, 1, 3, needed) == 0
    assert needed == [1]
    assert resv.adds_in_progress == 1


def test_a_range_inside_a_region_that_starts_before_it_adds_nothing(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 0, 10)
    assert add(k, resv, 3, 5) == 0
    assert k.regions(resv) == [(0, 10)]


def test_neighbours_merge_on_both_sides(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    assert add(k, resv, 0, 1) == 1
    assert add(k, resv, 2, 3) == 1
    assert k.regions(resv) == [(0, 1), (2, 3)]
    assert add(k, resv, 1, 2) == 1
    assert k.regions(resv) == [(0, 3)]


def test_regions_of_different_cgroups_do_not_merge(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    k.cgroup_mkdir("a")
    h_cg = k.cgroup_lookup("a").hugetlb.cgroup
    add(k, resv, 0, 2, h_cg)
    assert h_cg.css.refcount == 2
    add(k, resv, 2, 4)
    assert k.regions(resv) == [(0, 2), (2, 4)]
    add(k, resv, 4, 5, h_cg)
    assert k.regions(resv) == [(0, 2), (2, 4), (4, 5)]
    assert h_cg.css.refcount == 3
    # Merging drops the second region's reference.
    add(k, resv, 5, 6, h_cg)
    assert k.regions(resv) == [(0, 2), (2, 4), (4, 6)]
    assert h_cg.css.refcount == 3
    assert resv.pages_per_hpage == 512


def test_without_memory_chg_leaves_the_map_and_the_lock_alone(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 1, 2)
    before = resv.region_cache_count
    k.fail("kmalloc_region")
    assert k.region_chg(resv, 0, 9, [0]) == -ENOMEM
    assert resv.adds_in_progress == 0
    assert resv.region_cache_count == before
    assert resv.lock.owner is None


def test_add_that_needs_more_than_asked_for_allocates_or_fails(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    needed = [0]
    assert k.region_chg(resv, 0, 9, needed) == 9
    assert needed == [1]
    # Someone else enters the middle before the addition is carried out.
    add(k, resv, 4, 5)
    assert resv.region_cache_count == 1
    k.fail("kmalloc_region")
    assert k.region_add(resv, 0, 9, 1, None, None) == -ENOMEM
    assert resv.adds_in_progress == 1
    assert k.region_add(resv, 0, 9, 1, None, None) == 8
    assert k.regions(resv) == [(0, 9)]
    assert (resv.adds_in_progress, resv.region_cache_count) == (0, 0)


def test_add_of_one_page_never_allocates(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    resv.region_cache_count = 0
    k.INIT_LIST_HEAD(resv.region_cache)
    with pytest.raises(KernelBug, match="t - f <= 1"):
        k.region_add(resv, 0, 1, 0, None, None)


@pytest.mark.parametrize(
    ("f", "t", "deleted", "left"),
    [
        (0, LONG_MAX, 10, []),
        (0, 2, 0, [(2, 12)]),
        (12, 20, 0, [(2, 12)]),
        (0, 5, 3, [(5, 12)]),
        (2, 5, 3, [(5, 12)]),
        (5, 12, 7, [(2, 5)]),
        (5, LONG_MAX, 7, [(2, 5)]),
        (2, 12, 10, []),
        (4, 6, 2, [(2, 4), (6, 12)]),
    ],
)
def test_del_trims_splits_or_removes(
    k: Kernel, f: int, t: int, deleted: int, left: list[tuple[int, int]]
) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 2, 12)
    assert k.region_del(resv, f, t) == deleted
    assert k.regions(resv) == left


def test_del_across_regions(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    for f, t in ((0, 2), (4, 6), (8, 10)):
        add(k, resv, f, t)
    assert k.region_del(resv, 1, 9) == 4
    assert k.regions(resv) == [(0, 1), (9, 10)]


def test_del_removes_an_empty_region_at_the_beginning_of_its_range(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    empty = FileRegion(3, 3)
    k.list_add(empty.link, resv.regions)
    assert k.region_del(resv, 4, 6) == 0
    assert k.regions(resv) == [(3, 3)]
    assert k.region_del(resv, 3, 6) == 0
    assert k.regions(resv) == []


def test_a_split_takes_a_spare_entry_and_else_allocates(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 0, 9)
    assert resv.region_cache_count == 0
    k.fail("kmalloc_region")
    assert k.region_del(resv, 3, 4) == -ENOMEM
    assert k.regions(resv) == [(0, 9)]
    assert resv.lock.owner is None
    assert k.region_del(resv, 3, 4) == 1
    assert k.regions(resv) == [(0, 3), (4, 9)]
    needed = [0]
    k.region_chg(resv, 20, 21, needed)
    k.region_abort(resv, 20, 21, 1)
    assert resv.region_cache_count == 1
    assert k.region_del(resv, 5, 6) == 1
    assert resv.region_cache_count == 0


def test_a_split_leaves_what_an_addition_counts_on(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 0, 9)
    k.region_chg(resv, 20, 21, [0])
    assert (resv.region_cache_count, resv.adds_in_progress) == (1, 1)
    assert k.region_del(resv, 3, 4) == 1
    assert (resv.region_cache_count, resv.adds_in_progress) == (1, 1)


def test_a_split_region_holds_its_css_twice(k: Kernel) -> None:
    k.cgroup_mkdir("a")
    h_cg = k.cgroup_lookup("a").hugetlb.cgroup
    k.page_counter_charge(h_cg.rsvd_hugepage[0], 5 * 512)
    resv = k.resv_map_alloc()
    add(k, resv, 0, 5, h_cg)
    assert h_cg.css.refcount == 2
    assert k.region_del(resv, 2, 3) == 1
    assert h_cg.css.refcount == 3
    assert h_cg.rsvd_hugepage[0].usage == 4 * 512
    assert k.region_del(resv, 0, LONG_MAX) == 4
    assert h_cg.css.refcount == 1
    assert h_cg.rsvd_hugepage[0].usage == 0


def test_count_clips_to_the_range(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    add(k, resv, 0, 4)
    add(k, resv, 6, 8)
    assert k.region_count(resv, 0, 8) == 6
    assert k.region_count(resv, 2, 7) == 3
    assert k.region_count(resv, 4, 6) == 0


def test_release_complains_of_an_addition_in_progress(k: Kernel) -> None:
    resv = k.resv_map_alloc()
    k.region_chg(resv, 0, 1, [0])
    with pytest.raises(KernelBug, match="adds_in_progress"):
        k.kref_put(resv, k.resv_map_release)


OPS = st.lists(
    st.tuples(st.sampled_from(["add", "del", "probe"]), st.integers(0, 11), st.integers(1, 6)),
    max_size=25,
)


@given(ops=OPS)
def test_a_map_is_a_set_of_pages(ops: list[tuple[str, int, int]]) -> None:
    k = Kernel()
    resv = k.resv_map_alloc()
    pages: set[int] = set()
    for kind, f, length in ops:
        wanted = set(range(f, f + length))
        if kind == "add":
            assert add(k, resv, f, f + length) == len(wanted - pages)
            pages |= wanted
        elif kind == "del":
            assert k.region_del(resv, f, f + length) == len(wanted & pages)
            pages -= wanted
        else:
            needed = [0]
            assert k.region_chg(resv, f, f + length, needed) == len(wanted - pages)
            k.region_abort(resv, f, f + length, needed[0])
        regions = k.regions(resv)
        assert {page for f0, t0 in regions for page in range(f0, t0)} == pages
        assert all(f0 < t0 for f0, t0 in regions)
        # Without cgroups all that touches is merged.
        assert all(one[1] < two[0] for one, two in pairwise(regions))
        assert resv.adds_in_progress == 0
        assert k.region_count(resv, 0, 99) == len(pages)
