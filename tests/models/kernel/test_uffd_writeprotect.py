"""userfaultfd write protection: markers, entries, protected copies, and what fork keeps."""

from __future__ import annotations

import pytest

from models.kernel.pgtable import MARKER_UFFD_WP
from models.kernel.vmfault import UFFD_FEATURE_SIGBUS
from tests.models.steps import SIZE, World


@pytest.fixture(params=["private", "shared"])
def w(request: pytest.FixtureRequest) -> World:
    world = World(nodes=1, nr_hugepages=4)
    world.ok(
        "spawn id=A",
        f"mmap proc=A map=m type={request.param} len=2",
        "touch_write proc=A map=m page=0",
        "uffd_register proc=A map=m mode=wp",
    )
    return world


def test_a_protected_page_cannot_be_written_until_it_is_resolved(w: World) -> None:
    w.ok("uffd_writeprotect proc=A map=m start=0 len=1")
    pte = w.pte("A", "m")
    assert (pte.uffd_wp, pte.write, pte.dirty) == (True, False, True)
    assert w.signal("touch_write proc=A map=m page=0") == ("SIGBUS", 2)
    assert w.read("A", "m") == 3
    w.ok("uffd_writeprotect proc=A map=m start=0 len=1 resolve=1")
    # Not writable at once: userfaultfd must see the first write to a protected vma.
    assert (w.pte("A", "m").uffd_wp, w.pte("A", "m").write) == (False, False)
    folio = w.folio("A", "m")
    w.ok("touch_write proc=A map=m page=0")
    assert w.folio("A", "m") is folio
    assert w.locked() == []


def test_what_is_not_there_gets_a_marker(w: World) -> None:
    w.ok("uffd_writeprotect proc=A map=m")
    assert w.pte("A", "m", 1).special == MARKER_UFFD_WP
    assert w.pages("A", "m") == ["0", None]
    # A read maps the page with the protection of the marker.
    w.ok("touch_read proc=A map=m page=1")
    assert (w.pte("A", "m", 1).special, w.pte("A", "m", 1).uffd_wp) == ("", True)
    assert w.signal("touch_write proc=A map=m page=1") == ("SIGBUS", 2)


def test_resolving_takes_a_marker_away(w: World) -> None:
    w.ok("uffd_writeprotect proc=A map=m", "uffd_writeprotect proc=A map=m resolve=1")
    assert w.pte("A", "m", 1).special == ""
    w.ok("touch_write proc=A map=m page=1")


def test_unregistering_resolves(w: World) -> None:
    w.ok("uffd_writeprotect proc=A map=m", "uffd_unregister proc=A map=m")
    assert (w.pte("A", "m").uffd_wp, w.pte("A", "m", 1).special) == (False, "")
    w.ok("touch_write proc=A map=m page=0", "touch_write proc=A map=m page=1")


def test_a_page_table_that_cannot_be_had_is_enomem(w: World) -> None:
    w.ok("fail_kmalloc what=page_table count=1")
    assert w.errno("uffd_writeprotect proc=A map=m start=1 len=1") == "ENOMEM"
    assert w.locked() == []


def test_fork_leaves_the_protection_to_the_parent(w: World) -> None:
    w.ok("uffd_writeprotect proc=A map=m", "fork proc=A child=B")
    if w.pages("B", "m") == ["0", None]:
        assert not w.pte("B", "m").uffd_wp
    else:
        # vma_needs_copy(): entries of shared mappings are not copied at all.
        assert w.pages("B", "m") == [None, None]
    assert w.pte("A", "m").uffd_wp
    assert w.signal("touch_write proc=A map=m page=0") == ("SIGBUS", 2)
    w.ok("touch_write proc=B map=m page=0")


def test_moving_ends_the_protection(w: World) -> None:
    w.ok(
        "uffd_writeprotect proc=A map=m",
        "mremap proc=A map=m start=0 len=2 new_len=2 to=n",
    )
    assert (w.pte("A", "n").uffd_wp, w.pages("A", "n")) == (False, ["0", None])
    w.ok("touch_write proc=A map=n page=0")


def test_what_is_taken_away_leaves_a_marker_but_for_a_truncation() -> None:
    w = World(nodes=1, nr_hugepages=3)
    w.ok(
        "spawn id=A",
        "memfd_create proc=A fd=f",
        "fallocate proc=A fd=f off=0 len=1",
        "mmap proc=A map=m type=shared len=1 fd=f",
        "touch_write proc=A map=m page=0",
        "uffd_register proc=A map=m mode=wp",
        "uffd_writeprotect proc=A map=m",
        # The mapping stays, so its page may come back protected.
        "madvise proc=A map=m advice=dontneed",
    )
    assert w.pte("A", "m").special == MARKER_UFFD_WP
    # A hole leaves it as well; a truncation takes everything.
    w.ok("fallocate proc=A fd=f off=0 len=1 mode=punch_hole")
    assert w.pte("A", "m").special == MARKER_UFFD_WP
    w.ok("ftruncate proc=A fd=f len=0")
    assert w.pte("A", "m").special == ""


def test_a_part_that_is_not_watched_is_enoent() -> None:
    w = World(nodes=1, nr_hugepages=4)
    w.ok(
        "spawn id=A",
        "mmap proc=A map=m type=private len=2",
        "touch_write proc=A map=m page=0",
        "uffd_register proc=A map=m start=0 len=1 mode=wp",
    )
    assert w.errno("uffd_writeprotect proc=A map=m start=1 len=1") == "ENOENT"
    # The first part is protected before the second is found not to be watched.
    assert w.errno("uffd_writeprotect proc=A map=m") == "ENOENT"
    assert w.pte("A", "m").uffd_wp
    w.ok("uffd_register proc=A map=m start=1 len=1 mode=missing")
    assert w.errno("uffd_writeprotect proc=A map=m start=1 len=1") == "ENOENT"
    assert w.errno("uffd_writeprotect proc=A map=m start=5 len=1") == "ENOENT"
    assert w.errno("uffd_writeprotect proc=A map=m start=0 len=0") == "EINVAL"
    assert w.refused("uffd_writeprotect proc=A map=x")
    assert w.locked() == []


def test_half_a_page_is_einval(w: World) -> None:
    task = w.task("A")
    start = task.maps["m"].start
    w.machine.current = task
    assert w.sys_uffd_writeprotect(start, SIZE // 2, True) == -22
    assert w.sys_uffd_writeprotect(start + 4096, SIZE, True) == -22


def test_a_copy_and_a_continuation_may_be_protected() -> None:
    w = World(nodes=1, nr_hugepages=4)
    w.ok(
        "spawn id=A",
        "memfd_create proc=A fd=f",
        "fallocate proc=A fd=f off=0 len=1",
        "mmap proc=A map=m type=shared len=2 fd=f",
        "uffd_register proc=A map=m mode=all",
        "uffd_continue proc=A map=m page=0 wp=1",
        "uffd_copy proc=A map=m page=1 wp=1",
    )
    assert w.task("A").uffd.features == UFFD_FEATURE_SIGBUS
    for page in (0, 1):
        pte = w.pte("A", "m", page)
        assert (pte.uffd_wp, pte.write, pte.dirty) == (True, False, True)
        assert w.signal(f"touch_write proc=A map=m page={page}") == ("SIGBUS", 2)


def test_protection_that_was_not_asked_for_is_einval() -> None:
    w = World(nodes=1, nr_hugepages=4)
    w.ok("spawn id=A", "mmap proc=A map=m type=private len=2", "uffd_register proc=A map=m")
    assert w.errno("uffd_copy proc=A map=m page=0 wp=1") == "EINVAL"
    assert w.counters == (4, 4, 2, 0)
    assert w.locked() == []
