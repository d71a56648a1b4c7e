"""Operations on the pools beyond their size."""

from __future__ import annotations

import pytest

from tests.models.booted import Booted


def test_demotion_by_operation() -> None:
    b = Booted("hstates=2M,1G nr_hugepages_1g=2")
    b.do("demote n=1")
    assert b.pool == (512, 512, 0, 0)
    b.do("demote n=1 node=1 size=1G")
    assert b.pool[0] == 1024
    assert b.errno("demote n=1 size=2M") == "ENOENT"
    assert b.errno("demote n=1 node=3") == "ENOENT"
    assert b.refused("demote n=-1")


def test_without_gigantic_pages_there_is_nothing_to_demote() -> None:
    assert Booted().refused("demote n=1")


def test_the_pool_of_a_policy() -> None:
    b = Booted("nr_hugepages=2")
    b.do("spawn id=A", "set_mempolicy proc=A mode=bind nodes=1")
    b.do("set_nr_hugepages_mempolicy proc=A n=5")
    assert [n["nr"] for n in b.view["nodes"]] == [1, 4]
    assert b.refused("set_nr_hugepages_mempolicy proc=Z n=5")


def test_weights_of_interleaving() -> None:
    b = Booted("nr_hugepages=8")
    b.do("set_interleave_weight node=1 weight=2", "spawn id=A")
    b.do("set_mempolicy proc=A mode=weighted_interleave nodes=0,1")
    b.do("mmap proc=A map=m1 type=private len=6 populate=1")
    assert [str(page)[0] for page in b.pages("A", "m1")] == list("011011")
    assert b.errno("set_interleave_weight node=1 weight=256") == "EINVAL"
    assert b.errno("set_interleave_weight node=5 weight=1") == "EINVAL"


def test_dissolving_by_frame() -> None:
    b = Booted("nr_hugepages=2")
    b.do("dissolve node=0 frame=0", "dissolve node=0 frame=0")
    assert b.pool == (1, 1, 0, 0)
    b.do("spawn id=A", "mmap proc=A map=m1 type=private len=1")
    assert b.errno("dissolve node=1 frame=0") == "EBUSY"


def test_clearing_a_frame() -> None:
    b = Booted("nr_hugepages=2")
    # A free page is replaced by another of its node.
    b.do("clear_range node=0 frame=0")
    assert b.pool == (2, 2, 0, 0)
    assert sorted(b.read_frames()) == ["0:1", "1:256"]
    # One in use moves: to a page of the pool that is available, wherever that is.
    b.do("spawn id=A", "mmap proc=A map=m1 type=private len=1", "touch_write proc=A map=m1 page=0")
    b.do("clear_range node=0 frame=1")
    assert b.pages("A", "m1") == ["1:256"]
    assert b.pool == (2, 1, 0, 0)
    assert b.try_("touch_read proc=A map=m1 page=0").value == 4
    # To a fresh one on its own node if there is none, and to no other.
    b.do("mmap proc=A map=m2 type=private len=1", "clear_range node=1 frame=0")
    assert b.pages("A", "m1") == ["1:257"]
    assert b.pool == (2, 1, 1, 0)
    b.machine.fail["buddy.1"] = 99
    assert b.errno("clear_range node=1 frame=1") == "ENOMEM"
    assert b.pages("A", "m1") == ["1:257"]
    b.do("clear_range node=1 frame=77")


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_a_frame_that_somebody_holds_stays(kind: str) -> None:
    b = Booted("nr_hugepages=2")
    b.do("spawn id=A", f"mmap proc=A map=m1 type={kind} len=1", "touch_write proc=A map=m1 page=0")
    folio = b.read_frames()["0:0"]
    folio.refcount += 1
    assert b.errno("clear_range node=0 frame=0") == "EBUSY"
    assert b.pages("A", "m1") == ["0:0"]
    b.folio_put(folio)
    b.do("clear_range node=0 frame=0")


def test_a_frame_by_the_name_under_which_it_was_looked_up() -> None:
    b = Booted("nr_hugepages=2")
    b.do("spawn id=A", "mmap proc=A map=m1 type=private len=1")
    assert b.refused("note_frame proc=A map=m1 page=0 frame=k1")
    b.do("touch_write proc=A map=m1 page=0", "note_frame proc=A map=m1 page=0 frame=k1")
    assert b.errno("dissolve frame=k1") == "EBUSY"
    b.do("munmap proc=A map=m1", "dissolve frame=k1")
    assert b.pool == (1, 1, 0, 0)
    assert sorted(b.read_frames()) == ["1:256"]
    # It is no huge page any more, which counts as dissolved.
    b.do("dissolve frame=k1")
    assert b.refused("dissolve frame=k2")
    assert b.refused("dissolve frame=0")
    assert b.refused("note_frame proc=Z map=m1 page=0 frame=k1")


def test_the_pool_by_its_sysctls() -> None:
    b = Booted("hstates=2M,1G nr_hugepages=2")
    b.do("set_nr_hugepages n=5 sysctl=1")
    assert b.pool == (5, 5, 0, 0)
    b.do("set_nr_overcommit_hugepages n=3 sysctl=1", "spawn id=A")
    assert b.view["pool"]["overcommit"] == 3
    b.do("set_mempolicy proc=A mode=bind nodes=1")
    b.do("set_nr_hugepages_mempolicy proc=A n=7 sysctl=1")
    assert [n["nr"] for n in b.view["nodes"]] == [3, 4]
    # Always the default size's, whatever is named.
    b.do("set_nr_hugepages n=1 sysctl=1 size=1G")
    assert b.pool == (1, 1, 0, 0)
