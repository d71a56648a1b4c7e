"""The operations as such: names, ranges, results, and what is read back."""

from __future__ import annotations

import pytest

from tests.models.booted import Booted


@pytest.fixture
def k() -> Booted:
    booted = Booted("nr_hugepages=6")
    booted.do("spawn id=A", "mmap proc=A map=m type=private len=3")
    return booted


def test_a_store_writes_the_number_of_its_operation(k: Booted) -> None:
    assert k.refused("touch_write proc=A map=none page=0")
    assert k.try_("touch_write proc=A map=m page=1").value == 4
    assert k.try_("touch_read proc=A map=m page=1").value == 4
    assert k.try_("touch_read proc=A map=m page=0").value == 0


def test_pages_that_were_unmapped_are_shown_as_such_and_the_last_ends_the_name(k: Booted) -> None:
    k.do("touch_write proc=A map=m page=0", "munmap proc=A map=m start=1 len=1")
    assert k.pages("A", "m")[1:] == ["-", None]
    assert k.try_("touch_read proc=A map=m page=1").si_code == 1
    k.do("munmap proc=A map=m start=2 len=5", "munmap proc=A map=m start=0 len=1")
    assert k.view["procs"]["A"] == {"maps": {}, "fds": {}, "hugetlb_pages": 0}
    assert k.refused("munmap proc=A map=m")


def test_a_moved_part_gets_the_new_name(k: Booted) -> None:
    k.do("touch_write proc=A map=m page=2")
    page = k.pages("A", "m")[2]
    k.do("mremap proc=A map=m start=1 len=2 new_len=2 to=n")
    assert (k.pages("A", "m"), k.pages("A", "n")) == ([None, "-", "-"], [None, page])
    assert k.refused("mremap proc=A map=m start=0 len=1 new_len=1 to=n")
    k.do("mremap proc=A map=m start=0 len=1 new_len=1 to=o")
    assert set(k.machine.tasks["A"].maps) == {"n", "o"}
    # The range of the first mapping is free again.
    k.do("mmap proc=A map=m type=private len=1")


def test_shrinking_in_place_loses_pages_and_growing_fails(k: Booted) -> None:
    assert k.errno("mremap proc=A map=m start=0 len=3 new_len=4") == "EINVAL"
    k.do("mremap proc=A map=m start=0 len=3 new_len=1")
    assert k.pages("A", "m") == [None, "-", "-"]


def test_the_signal_tells_no_mapping_from_no_right_from_no_page(k: Booted) -> None:
    k.do("mprotect proc=A map=m start=0 len=1 prot=none")
    k.do("mmap proc=A map=n type=private len=7 noreserve=1")
    k.do(*[f"touch_write proc=A map=n page={page}" for page in range(3)])
    cases = {
        "touch_read proc=A map=m page=3": ("SIGSEGV", 1),
        "touch_write proc=A map=m page=0": ("SIGSEGV", 2),
        "touch_write proc=A map=n page=3": ("SIGBUS", 2),
    }
    for line, expected in cases.items():
        outcome = k.try_(line)
        assert (outcome.ret, outcome.errno, outcome.signal, outcome.si_code) == (
            -1,
            None,
            *expected,
        )


@pytest.mark.parametrize(
    "line",
    [
        "spawn id=A",
        "fork proc=A child=A",
        "fork proc=Z child=B",
        "mmap proc=A map=m type=private len=1",
        "mmap proc=A map=n type=private len=-1",
        "mmap proc=A map=n type=private len=1 size=1G",
        "mmap proc=A map=n type=private len=1 prot=x",
        "munmap proc=A map=m start=0 len=40000",
        "touch_read proc=A map=m page=-1",
        "touch_read proc=A map=m page=32768",
        "madvise proc=A map=m advice=willneed",
        "mbind proc=A map=m start=0 len=1 mode=none",
        "mbind proc=A map=m start=0 len=1 mode=bind nodes=x",
        "set_mempolicy proc=A mode=bind nodes=99",
        "migrate_pages proc=Z from=0 to=1",
        "set_nr_hugepages n=-1",
        "set_nr_hugepages n=1 size=1G",
        "cgroup_attach cgroup=g target=Z",
        "fail_buddy node=0 count=0",
        "fail_kmalloc what=none count=1",
        "exit proc=Z",
    ],
)
def test_what_the_kernel_never_sees_is_refused_and_changes_nothing(k: Booted, line: str) -> None:
    before = k.view
    assert k.refused(line)
    assert k.view == before
    assert k.machine.current is k.init_task


def test_an_injected_failure_counts_down() -> None:
    k = Booted("nodes=1 nr_hugepages=1 nr_overcommit_hugepages=2")
    k.do("spawn id=A", "fail_buddy node=0 count=1")
    assert k.errno("mmap proc=A map=m type=private len=2") == "ENOMEM"
    k.do("mmap proc=A map=m type=private len=2")
    assert k.pool == (2, 2, 2, 1)


def test_cgroup_limits_are_written_and_read_in_huge_pages(k: Booted) -> None:
    k.do("cgroup_create cgroup=g", "cgroup_set cgroup=g file=rsvd.max value=1")
    k.do("cgroup_attach cgroup=g target=A")
    assert k.errno("mmap proc=A map=n type=private len=2") == "ENOMEM"
    k.do("mmap proc=A map=n type=private len=1", "cgroup_set cgroup=g file=rsvd.max value=max")
    assert k.view["cgroups"]["g"] == {
        "current": 0,
        "rsvd.current": 1,
        "max": "max",
        "rsvd.max": "max",
        "events_max": 1,
    }
    assert k.errno("cgroup_rmdir cgroup=g") == "EBUSY"
    k.do("cgroup_attach cgroup=/ target=A", "cgroup_rmdir cgroup=g")
    assert "cgroups" not in k.view


def test_the_tail_tells_what_stayed() -> None:
    k = Booted()
    k.do("spawn id=A", "mount mount=h min_size=1", "open proc=A fd=f mount=h name=x")
    k.do("fallocate proc=A fd=f off=0 len=2", "cgroup_create cgroup=g", "shmget shm=s len=1")
    assert k.tail() == {
        "end": True,
        "clean": True,
        "busy": 0,
        "idle": {"nr": 4, "free": 4, "resv": 0, "surplus": 0},
        "empty": {"nr": 0, "free": 0, "resv": 0, "surplus": 0},
    }


def test_the_tail_of_accounting_gone_wrong_is_not_clean() -> None:
    k = Booted()
    k.hstates[0].resv_huge_pages = (1 << 64) - 1
    tail = k.tail()
    assert (tail["clean"], tail["idle"]["resv"]) == (False, -1)


@pytest.mark.parametrize(
    ("world", "nodes"),
    [
        ("nr_hugepages=3", [(2, 2), (1, 1)]),
        ("nodes=1 nr_hugepages=3", [(3, 3)]),
        ("nodes=3 nr_hugepages=4", [(2, 2), (1, 1), (1, 1)]),
        # What does not fit is not in the pool; the other node takes its share.
        ("node_mb=4,512 nr_hugepages=6", [(2, 2), (4, 4)]),
    ],
)
def test_a_pool_is_filled_round_robin_from_the_first_node(
    world: str, nodes: list[tuple[int, int]]
) -> None:
    k = Booted(world)
    assert [(node["nr"], node["free"]) for node in k.view["nodes"]] == nodes
