"""Files made by memfd_create(2), and folios of theirs pinned for devices."""

from __future__ import annotations

from tests.models.booted import Booted


def with_memfd(pages: int) -> Booted:
    k = Booted()
    k.do("spawn id=A", "memfd_create proc=A fd=f", f"ftruncate proc=A fd=f len={pages}")
    return k


def test_a_memfd_reserves_nothing_until_it_is_mapped() -> None:
    k = with_memfd(9)
    assert (k.pool, k.file("A", "f")) == ((4, 4, 0, 0), {"size": 9, "blocks": 0, "nlink": 0})
    k.do("mmap proc=A map=m type=shared len=2 fd=f")
    assert k.pool[2] == 2
    k.do("munmap proc=A map=m", "close proc=A fd=f")
    assert k.pool == (4, 4, 0, 0)


def test_pinning_takes_pages_that_the_file_reserved() -> None:
    k = with_memfd(3)
    k.do("mmap proc=A map=m type=shared len=3 fd=f", "touch_write proc=A map=m page=1")
    k.do("memfd_pin_folios proc=A pin=p1 fd=f off=0 len=3")
    assert (k.pool, k.file("A", "f")["blocks"]) == ((4, 1, 0, 0), 3)
    pages = k.machine.tasks["A"].fds["f"].f_mapping.pages
    assert [pages[page].pincount for page in range(3)] == [1, 1, 1]
    k.do("unpin proc=A pin=p1")
    # A page that pinning allocated keeps no reference but the page cache's.
    assert [pages[page].refcount for page in range(3)] == [512, 513, 512]
    k.do("munmap proc=A map=m", "close proc=A fd=f")
    assert k.pool == (4, 4, 0, 0)


def test_what_cannot_be_pinned_whole_is_not_pinned_at_all() -> None:
    k = with_memfd(3)
    k.do("mmap proc=A map=m type=shared len=3 fd=f", "touch_write proc=A map=m page=0")
    k.do("mmap proc=A map=n type=private len=1", "touch_write proc=A map=n page=0")
    # Another user takes what is left of node 0 and 1 behind the reservation's back.
    for h in k.hstates:
        for node in range(2):
            for folio in k.list_entries(h.hugepage_freelists[node]):
                folio.hwpoison = True
    assert k.errno("memfd_pin_folios proc=A pin=p1 fd=f off=0 len=2") == "ENOMEM"
    assert k.machine.tasks["A"].fds["f"].f_mapping.pages[0].pincount == 0


def test_a_range_beyond_the_file_is_invalid() -> None:
    k = with_memfd(2)
    assert k.errno("memfd_pin_folios proc=A pin=p1 fd=f off=1 len=2") == "EINVAL"
    assert k.errno("memfd_pin_folios proc=A pin=p1 fd=f off=0 len=0") == "EINVAL"
    assert k.errno("memfd_pin_folios proc=A pin=p1 fd=g off=0 len=1") == "EBADF"


def test_pinning_an_unreserved_page_trips_the_kernels_own_check() -> None:
    """alloc_hugetlb_folio_reserve() takes any free page and asserts that one is reserved."""
    k = with_memfd(1)
    outcome = k.try_("memfd_pin_folios proc=A pin=p1 fd=f off=0 len=1")
    assert (outcome.ending, outcome.fatal) == ("bug", True)
    assert "resv_huge_pages" in outcome.detail
