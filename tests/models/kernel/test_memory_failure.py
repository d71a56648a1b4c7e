"""Memory errors in huge pages, against mm/memory-failure.c and what a real kernel did."""

from __future__ import annotations

from typing import Any

import pytest

from models.hugetlb.structs import HPG_RAW_HWP_UNRELIABLE
from models.kernel.errno import EBUSY, EHWPOISON, EIO, ENXIO, EOPNOTSUPP
from models.kernel.memory_failure import (
    MF_ACTION_REQUIRED,
    MF_HUGETLB_FOLIO_PRE_POISONED,
    MF_HUGETLB_PAGE_PRE_POISONED,
    MF_SW_SIMULATED,
)
from tests.models.booted import Booted


@pytest.fixture
def b() -> Booted:
    booted = Booted()
    booted.do("spawn id=A", "mmap proc=A map=m1 type=private len=3")
    return booted


def frame(b: Booted, page: int, name: str = "m1", proc: str = "A") -> str:
    """Node and frame of a mapped page, as operations name it."""
    nid, number = str(b.pages(proc, name)[page]).split(":")
    return f"node={nid} frame={int(number) - b.zones[int(nid)].start}"


def free_frames(b: Booted) -> list[int]:
    """Frames that the page allocator has left on each node."""
    return [zone.free.bit_count() for zone in b.zones]


def folio_of(b: Booted, page: int, name: str = "m1", proc: str = "A") -> Any:
    """The folio of a mapped page."""
    nid, number = str(b.pages(proc, name)[page]).split(":")
    return b.read_frames()[f"{nid}:{number}"]


def test_an_anonymous_page_leaves_the_pool(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0", "touch_write proc=A map=m1 page=1")
    frames = free_frames(b)
    hit = b.try_("madvise proc=A map=m1 start=0 len=1 advice=hwpoison")
    assert (hit.ret, hit.signal, hit.si_code) == (0, "SIGBUS", 4)
    assert b.pool == (3, 2, 1, 0)
    assert b.pages("A", "m1")[0] is None
    again = b.try_("touch_read proc=A map=m1 page=0")
    assert (again.ret, again.signal, again.si_code) == (-1, "SIGBUS", 4)
    # The frame is lost for good.
    b.do("exit proc=A", "set_nr_hugepages n=0")
    assert free_frames(b) == [frames[0] + 1, frames[1] + 2]


def test_a_page_of_a_file_stays_in_its_page_cache(b: Booted) -> None:
    b.do("memfd_create proc=A fd=f1", "ftruncate proc=A fd=f1 len=1")
    b.do("munmap proc=A map=m1", "mmap proc=A map=m2 type=shared len=1 fd=f1")
    b.do("touch_write proc=A map=m2 page=0")
    assert b.try_("madvise proc=A map=m2 advice=hwpoison").signal == "SIGBUS"
    assert b.pool == (4, 3, 0, 0)
    assert b.try_("touch_read proc=A map=m2 page=0").si_code == 4
    # Another mapping of the file finds it there, and poisoned.
    b.do("spawn id=B", "fork proc=A child=C", "mmap proc=C map=m3 type=shared len=1 fd=f1")
    assert b.try_("touch_read proc=C map=m3 page=0").si_code == 4
    # The handler's reference keeps it from becoming free when the hole is punched.
    b.do("fallocate proc=A fd=f1 mode=punch_hole off=0 len=1")
    assert b.pool == (4, 3, 0, 0)


def test_only_who_made_it_known_gets_a_signal_and_only_for_what_was_written(b: Booted) -> None:
    b.do("touch_read proc=A map=m1 page=0")
    hit = b.try_("madvise proc=A map=m1 start=0 len=1 advice=hwpoison")
    assert (hit.ret, hit.signal) == (0, None)
    b.do("touch_write proc=A map=m1 page=1")
    outcome = b.try_(f"hard_offline {frame(b, 1)}")
    assert (outcome.ret, outcome.signal) == (0, None)
    assert b.try_("touch_read proc=A map=m1 page=1").signal == "SIGBUS"


def test_a_page_that_another_process_has_too_goes_from_both(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0", "fork proc=A child=B")
    b.do("madvise proc=B map=m1 start=0 len=1 advice=hwpoison")
    for proc in "AB":
        assert b.try_(f"touch_read proc={proc} map=m1 page=0").si_code == 4
    assert b.view["procs"]["A"]["hugetlb_pages"] == 0


def test_a_free_page_is_dissolved_at_once(b: Booted) -> None:
    b.do("munmap proc=A map=m1")
    frames = free_frames(b)
    b.do("hard_offline node=0 frame=0")
    assert b.pool == (3, 3, 0, 0)
    assert free_frames(b) == frames
    assert b.errno("hard_offline node=0 frame=0") == "EHWPOISON"
    b.do("unpoison node=0 frame=0")
    assert free_frames(b) == [frames[0] + 1, frames[1]]
    assert b.errno("unpoison node=0 frame=0") == "EBUSY"


def test_a_free_page_that_is_reserved_stays_poisoned_on_its_list(b: Booted) -> None:
    b.do("mmap proc=A map=m2 type=private len=1")
    assert b.pool == (4, 4, 4, 0)
    assert b.errno("hard_offline node=0 frame=0") == "EBUSY"
    assert b.pool == (4, 4, 4, 0)
    # Nobody gets it: one reservation cannot be kept.
    for page in range(3):
        b.do(f"touch_write proc=A map=m1 page={page}")
    assert b.try_("touch_write proc=A map=m2 page=0").signal == "SIGBUS"
    assert b.pool == (4, 1, 1, 0)
    b.do("unpoison node=0 frame=0", "touch_write proc=A map=m2 page=0")
    assert b.pool == (4, 0, 0, 0)


def test_a_pinned_page_cannot_be_given_up(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0")
    folio = folio_of(b, 0)
    folio.refcount += 1
    hit = b.try_("madvise proc=A map=m1 start=0 len=1 advice=hwpoison")
    assert (hit.errno, hit.signal) == ("EBUSY", "SIGBUS")
    assert (b.pool, folio.hwpoison) == ((4, 3, 2, 0), True)
    b.folio_put(folio)
    # Free now, but still poisoned.
    assert b.pool == (4, 4, 2, 0)


def test_free_memory_is_withheld_too(b: Booted) -> None:
    frames = free_frames(b)
    b.do("hard_offline node=1 frame=200")
    assert free_frames(b) == [frames[0], frames[1] - 1]
    assert b.memory_failure(1 << 40, MF_SW_SIMULATED) == -ENXIO


def test_soft_offlining_moves_the_page_first(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0")
    before = frame(b, 0)
    b.do("madvise proc=A map=m1 start=0 len=1 advice=soft_offline")
    assert frame(b, 0) != before
    assert b.try_("touch_read proc=A map=m1 page=0").value == 3
    assert b.pool == (3, 2, 2, 0)
    # Again: it is gone already.
    b.do(f"soft_offline {before}")
    assert b.pool == (3, 2, 2, 0)
    # A free page needs no move, unless it is reserved.
    b.do(f"soft_offline {frame(b, 0)}", "munmap proc=A map=m1")
    b.do("soft_offline node=1 frame=0")
    assert b.pool[0] < 3


def test_soft_offlining_without_room_fails_and_keeps_the_page(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0", "mmap proc=A map=m2 type=private len=1")
    before = frame(b, 0)
    b.machine.fail["buddy"] = 9
    assert b.errno("madvise proc=A map=m1 start=0 len=1 advice=soft_offline") == "ENOMEM"
    assert frame(b, 0) == before
    assert b.try_("touch_read proc=A map=m1 page=0").value == 3


def test_a_page_in_transit_is_tried_again_and_then_given_up(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0")
    folio = folio_of(b, 0)
    b.folio_clear_hugetlb_migratable(folio)
    assert b.soft_offline_page(folio.pfn, 0) == -EIO
    assert b.memory_failure(folio.pfn, MF_SW_SIMULATED) == -EBUSY
    # Marked all the same.
    assert folio.hwpoison


def test_one_base_page_after_another(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0")
    folio = folio_of(b, 0)
    assert b.hugetlb_update_hwpoison(folio, 5) == 0
    assert b.hugetlb_update_hwpoison(folio, 5) == MF_HUGETLB_PAGE_PRE_POISONED
    assert b.hugetlb_update_hwpoison(folio, 6) == MF_HUGETLB_FOLIO_PRE_POISONED
    assert [b.is_raw_hwpoison_page_in_hugepage(folio, n) for n in (4, 5, 6)] == [
        False,
        True,
        True,
    ]
    # Known before: whoever asks for action and maps it is told.
    b.begin("A")
    assert b.memory_failure(folio.pfn + 5, MF_SW_SIMULATED) == -EHWPOISON
    assert b.take_mce_signal() == 0
    assert b.memory_failure(folio.pfn + 5, MF_ACTION_REQUIRED | MF_SW_SIMULATED) == -EHWPOISON
    assert b.take_mce_signal() == 4


def test_without_memory_for_the_record_the_page_is_never_freed(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0")
    folio = folio_of(b, 0)
    frames = free_frames(b)
    b.machine.fail["kmalloc_raw_hwp"] = 1
    # It leaves the pool, but no base page could be withheld.
    assert b.errno("madvise proc=A map=m1 start=0 len=1 advice=hwpoison") == "EBUSY"
    assert b.pool == (3, 3, 2, 0)
    assert folio.hpg & HPG_RAW_HWP_UNRELIABLE
    assert b.hugetlb_update_hwpoison(folio, 1) == MF_HUGETLB_FOLIO_PRE_POISONED
    assert b.folio_free_raw_hwp(folio, False) == 0
    b.do("exit proc=A", "set_nr_hugepages n=0")
    assert b.pool == (0, 0, 0, 0)
    assert sum(free_frames(b)) == sum(frames) + 3


def test_a_real_error_cannot_be_taken_back(b: Booted) -> None:
    b.do("munmap proc=A map=m1")
    assert b.memory_failure(0, 0) == 0
    assert b.unpoison_memory(0) == -EOPNOTSUPP
    assert b.unpoison_memory(1 << 40) == -EIO


def test_a_page_in_use_is_unpoisoned_when_nothing_maps_it(b: Booted) -> None:
    b.do("touch_write proc=A map=m1 page=0")
    folio = folio_of(b, 0)
    folio.refcount += 1
    b.try_("madvise proc=A map=m1 start=0 len=1 advice=hwpoison")
    b.do("munmap proc=A map=m1")
    # One reference too many is left: it is taken for the error handler's.
    assert (folio.refcount, folio.hwpoison) == (1, True)
    assert b.unpoison_memory(folio.pfn) == 0
    assert not folio.hwpoison
    assert b.pool == (4, 4, 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        "hard_offline node=2 frame=0",
        "hard_offline node=0 frame=256",
        "soft_offline node=0 frame=-1",
        "unpoison node=9 frame=0",
        "dissolve node=0 frame=999",
        "clear_range node=7 frame=0",
    ],
)
def test_a_frame_that_does_not_exist_is_refused(b: Booted, line: str) -> None:
    assert b.refused(line)


def test_no_mapping_no_error(b: Booted) -> None:
    b.do("munmap proc=A map=m1 start=1 len=1")
    assert b.errno("madvise proc=A map=m1 start=1 len=1 advice=hwpoison") == "EFAULT"
