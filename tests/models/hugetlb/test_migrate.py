"""Migration: contents, owners and counts move along; what cannot move stays as it was."""

from __future__ import annotations

import pytest

from models.hugetlb.structs import HPG_MIGRATABLE, HPG_TEMPORARY
from models.kernel.pgtable import MIGRATION
from models.kernel.structs import Pte
from stable import migrate
from tests.models.steps import World


@pytest.fixture(params=["base", "6.12.117"])
def w(request: pytest.FixtureRequest) -> World:
    """Three pages on each of two nodes, one private page of A on node 0."""
    world = World(*(() if request.param == "base" else (migrate,)), nr_hugepages=6)
    world.ok(
        "spawn id=A", "mmap proc=A map=m type=private len=1", "touch_write proc=A map=m page=0"
    )
    return world


def test_private_page_moves(w: World) -> None:
    old = w.folio("A", "m")
    w.ok("migrate_pages proc=A from=0 to=1")
    new = w.folio("A", "m")
    assert (old.nid, new.nid) == (0, 1)
    assert w.read("A", "m") == 3
    assert (new.mapcount, new.refcount, new.anon_exclusive, new.locked) == (1, 1, True, False)
    assert new.hpg & HPG_MIGRATABLE
    assert w.pte("A", "m").write
    assert w.counters == (6, 5, 0, 0)
    assert w.read_nodes(w.hstates[0]) == [
        {"nr": 3, "free": 3, "surplus": 0},
        {"nr": 3, "free": 2, "surplus": 0},
    ]
    assert w.locked() == []
    w.ok("exit proc=A")
    assert w.counters == (6, 6, 0, 0)


def test_page_of_a_file_moves_for_all_who_map_it(w: World) -> None:
    w.ok(
        "mount mount=h0 size=2",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=s type=shared len=1 fd=f",
        "touch_write proc=A map=s page=0",
        "fork proc=A child=B",
    )
    assert w.read("B", "s") == 7
    pool = w.folio("A", "s").subpool
    assert pool is not None
    w.ok("migrate_pages proc=A from=0 to=1")
    folio = w.folio("A", "s")
    assert folio.nid == 1
    assert w.folio("B", "s") is folio
    assert w.task("A").fds["f"].f_inode.i_mapping.pages == {0: folio}
    assert (folio.refcount, folio.mapcount) == (514, 2)
    assert folio.subpool is pool
    assert w.read("B", "s") == 7
    # B has the shared page mapped writable, though its entry was read-only before.
    assert w.pte("B", "s").write
    w.ok("unlink mount=h0 name=x", "exit proc=A", "exit proc=B")
    assert pool.used_hpages == 0
    assert w.counters == (6, 6, 0, 0)


def test_page_shared_by_fork_moves_for_both(w: World) -> None:
    w.ok("fork proc=A child=B", "migrate_pages proc=B from=0 to=1")
    folio = w.folio("A", "m")
    assert folio is w.folio("B", "m")
    assert (folio.nid, folio.mapcount, folio.anon_exclusive) == (1, 2, False)
    assert not w.pte("A", "m").write
    w.ok("touch_write proc=B map=m page=0")
    assert (w.read("A", "m"), w.read("B", "m")) == (3, 6)


def test_anonymous_page_of_a_subpool_stays(w: World) -> None:
    w.ok(
        "mount mount=h0 size=2",
        "open proc=A fd=f mount=h0 name=x",
        "mmap proc=A map=p type=private len=1 fd=f",
        "touch_write proc=A map=p page=0",
    )
    folio = w.folio("A", "p")
    before = w.counters
    nid = folio.nid
    w.ok(f"migrate_pages proc=A from={nid} to={1 - nid}")
    assert w.folio("A", "p") is folio
    assert folio.hpg & HPG_MIGRATABLE
    assert w.counters == before
    assert w.locked() == []


def test_pinned_page_stays_as_it_was(w: World) -> None:
    w.ok("pin proc=A pin=p1 map=m")
    folio, pte = w.folio("A", "m"), w.pte("A", "m")
    w.ok("migrate_pages proc=A from=0 to=1")
    assert w.folio("A", "m") is folio
    assert w.pte("A", "m") == pte
    assert (folio.mapcount, folio.refcount, folio.anon_exclusive) == (1, 513, True)
    assert w.counters == (6, 5, 0, 0)
    assert w.locked() == []


def test_no_page_to_go_to_is_enomem(w: World) -> None:
    w.ok("set_node_nr_hugepages node=1 n=0", "fail_buddy node=1 count=1")
    folio = w.folio("A", "m")
    assert w.errno("migrate_pages proc=A from=0 to=1") == "ENOMEM"
    assert w.folio("A", "m") is folio
    assert folio.hpg & HPG_MIGRATABLE
    assert folio.refcount == 1


def test_temporary_page_takes_the_place_and_the_old_one_leaves(w: World) -> None:
    w.ok("set_node_nr_hugepages node=1 n=0")
    assert w.counters == (3, 2, 0, 0)
    w.ok("migrate_pages proc=A from=0 to=1")
    folio = w.folio("A", "m")
    assert folio.nid == 1
    assert not folio.hpg & HPG_TEMPORARY
    assert w.read_nodes(w.hstates[0]) == [
        {"nr": 2, "free": 2, "surplus": 0},
        {"nr": 1, "free": 0, "surplus": 0},
    ]
    w.ok("exit proc=A")
    assert w.counters == (3, 3, 0, 0)


def test_surplus_of_the_node_moves_with_a_temporary_page(w: World) -> None:
    h = w.hstates[0]
    old, new = w.folio("A", "m"), w.list_first_entry(h.hugepage_freelists[1])
    h.surplus_huge_pages_node[0] = 1
    new.hpg |= HPG_TEMPORARY
    w.move_hugetlb_state(old, new, 3)
    assert h.surplus_huge_pages_node[:2] == [0, 1]
    assert old.hpg & HPG_TEMPORARY
    assert not new.hpg & HPG_TEMPORARY
    # On one node nothing moves.
    other = w.list_first_entry(h.hugepage_freelists[1])
    other.hpg |= HPG_TEMPORARY
    w.move_hugetlb_state(new, other, 3)
    assert h.surplus_huge_pages_node[:2] == [0, 1]
    assert w.hugetlb_lock.owner is None


def test_memory_error_in_the_copy_leaves_the_page(w: World) -> None:
    folio, pte = w.folio("A", "m"), w.pte("A", "m")
    w.ok("fail_copy what=page count=1", "migrate_pages proc=A from=0 to=1")
    assert w.folio("A", "m") is folio
    assert w.pte("A", "m") == pte
    assert w.counters == (6, 5, 0, 0)
    assert w.locked() == []


def test_isolation_needs_a_folio_that_is_in_use(w: World) -> None:
    folio = w.folio("A", "m")
    isolated = w.ListHead()
    assert w.isolate_hugetlb(folio, isolated)
    assert folio.refcount == 2
    assert not w.isolate_hugetlb(folio, isolated)
    assert not w.isolate_hugetlb(w.list_first_entry(w.hstates[0].hugepage_freelists[0]), isolated)
    w.putback_movable_pages(isolated)
    assert folio.refcount == 1
    assert folio.hpg & HPG_MIGRATABLE
    assert w.list_first_entry(w.hstates[0].hugepage_activelist) is folio


def test_reference_for_the_handling_of_a_memory_error(w: World) -> None:
    folio = w.folio("A", "m")
    free = w.list_first_entry(w.hstates[0].hugepage_freelists[0])
    assert w.get_hwpoison_hugetlb_folio(folio, False) == (1, True)
    assert folio.refcount == 2
    assert w.get_hwpoison_hugetlb_folio(free, False) == (0, True)
    folio.hpg &= ~HPG_MIGRATABLE
    assert w.get_hwpoison_hugetlb_folio(folio, False) == (-16, True)
    assert w.get_hwpoison_hugetlb_folio(folio, True) == (1, True)
    folio.hugetlb = False
    assert w.get_hwpoison_hugetlb_folio(folio, False) == (0, False)


def test_migration_entry_is_counted_as_a_failure(w: World) -> None:
    (address,) = w.task("A").mm.page_table
    slot = w.task("A").mm.page_table[address]
    slot.pte = slot.pte._replace(special=MIGRATION)
    assert w.migrate_to_node(w.task("A").mm, 0, 1) == 1
    slot.pte = Pte()
    assert w.migrate_to_node(w.task("A").mm, 0, 1) == 0


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        (0b01, 0b10, [(0, 1)]),
        (0b11, 0b11, []),
        (0b01, 0b01, []),
        # Equal sets of nodes keep their order; the empty node is filled first.
        (0b011, 0b110, [(1, 2), (0, 1)]),
        # Sets of different sizes: what is there already stays.
        (0b1111, 0b1100, [(1, 3), (0, 2)]),
        (0b111, 0b010, [(2, 1), (0, 1)]),
    ],
)
def test_pairs_of_nodes(w: World, old: int, new: int, moves: list[tuple[int, int]]) -> None:
    seen: list[tuple[int, int]] = []

    def note(mm: object, source: int, dest: int) -> int:
        seen.append((source, dest))
        return 0

    # Only the choice of pairs is looked at.
    w.do_migrate_pages.__globals__["migrate_to_node"] = note
    assert w.do_migrate_pages(w.task("A").mm, old, new) == 0
    assert sorted(seen) == sorted(moves)


def test_nodes_that_do_not_exist(w: World) -> None:
    w.machine.current = w.task("A")
    assert w.ERRNO_NAMES[-w.kernel_migrate_pages(1, 0)] == "EINVAL"
    assert w.ERRNO_NAMES[-w.kernel_migrate_pages(1, 0b1000)] == "EINVAL"
    assert w.ERRNO_NAMES[-w.kernel_migrate_pages(1 << 40, 1)] == "EINVAL"
    assert w.kernel_migrate_pages(0b1000, 1) == 0
