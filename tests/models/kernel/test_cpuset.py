"""Memory nodes of cpusets, against kernel/cgroup/cpuset.c and what a real kernel did."""

from __future__ import annotations

import pytest

from tests.models.booted import Booted


@pytest.fixture
def b() -> Booted:
    booted = Booted("nodes=3 nr_hugepages=6")
    booted.do("cgroup_create cgroup=g1", "spawn id=A")
    return booted


def node(b: Booted, name: str, page: int, proc: str = "A") -> int:
    """The node of a mapped page."""
    return int(str(b.pages(proc, name)[page])[0])


def test_what_a_cpuset_does_not_hold_can_be_neither_reserved_nor_used(b: Booted) -> None:
    b.do("cgroup_mems cgroup=g1 nodes=1,2", "cgroup_attach cgroup=g1 target=A")
    assert b.errno("mmap proc=A map=m1 type=private len=5") == "ENOMEM"
    b.do("mmap proc=A map=m1 type=private len=4")
    for page in range(4):
        b.do(f"touch_write proc=A map=m1 page={page}")
    assert sorted(node(b, "m1", page) for page in range(4)) == [1, 1, 2, 2]


def test_pages_follow_their_process(b: Booted) -> None:
    b.do("mmap proc=A map=m1 type=private len=1", "touch_write proc=A map=m1 page=0")
    assert node(b, "m1", 0) == 0
    b.do("cgroup_mems cgroup=g1 nodes=2", "cgroup_attach cgroup=g1 target=A")
    assert node(b, "m1", 0) == 2
    b.do("cgroup_mems cgroup=g1 nodes=1")
    assert node(b, "m1", 0) == 1
    assert b.try_("touch_read proc=A map=m1 page=0").value == 4
    # Back at the root more is allowed, and nothing has to move.
    b.do("cgroup_attach cgroup=/ target=A")
    assert node(b, "m1", 0) == 1
    assert b.machine.tasks["A"].mems_allowed == 0b111


def test_a_cpuset_with_processes_keeps_a_node(b: Booted) -> None:
    b.do("cgroup_mems cgroup=g1 nodes=1", "cgroup_attach cgroup=g1 target=A")
    assert b.errno("cgroup_mems cgroup=g1 nodes=-") == "ENOSPC"
    b.do("cgroup_attach cgroup=/ target=A", "cgroup_mems cgroup=g1 nodes=-")
    b.do("cgroup_attach cgroup=g1 target=A")
    assert b.machine.tasks["A"].mems_allowed == 0b111


def test_a_child_holds_what_its_parent_does_unless_told_otherwise(b: Booted) -> None:
    b.do("cgroup_create cgroup=g1/c", "cgroup_attach cgroup=g1/c target=A")
    b.do("cgroup_mems cgroup=g1 nodes=1,2")
    assert b.machine.tasks["A"].mems_allowed == 0b110
    b.do("cgroup_mems cgroup=g1/c nodes=2")
    assert b.machine.tasks["A"].mems_allowed == 0b100
    # Nodes that the parent has no more are not held, whatever was written.
    b.do("cgroup_mems cgroup=g1 nodes=1")
    assert b.machine.tasks["A"].mems_allowed == 0b010
    b.do("cgroup_mems cgroup=g1 nodes=0,2")
    assert b.machine.tasks["A"].mems_allowed == 0b100


def test_later_cgroups_and_children_inherit(b: Booted) -> None:
    b.do("cgroup_mems cgroup=g1 nodes=1", "cgroup_create cgroup=g2", "cgroup_create cgroup=g1/c")
    b.do("cgroup_attach cgroup=g1/c target=A", "fork proc=A child=B")
    assert b.machine.tasks["B"].mems_allowed == 0b010
    b.do("cgroup_attach cgroup=g2 target=B")
    assert b.machine.tasks["B"].mems_allowed == 0b111


def test_policies_are_fitted_to_the_new_nodes(b: Booted) -> None:
    b.do("cgroup_mems cgroup=g1 nodes=0,1", "cgroup_attach cgroup=g1 target=A")
    b.do("set_mempolicy proc=A mode=bind nodes=1", "mmap proc=A map=m1 type=private len=2")
    b.do("mbind proc=A map=m1 start=0 len=2 mode=interleave nodes=0,1")
    b.do("cgroup_mems cgroup=g1 nodes=1,2")
    task = b.machine.tasks["A"]
    assert task.mempolicy.nodes == 0b100
    assert [vma.vm_policy.nodes for vma in task.mm.vmas] == [0b110]


def test_what_cannot_be_written(b: Booted) -> None:
    assert b.errno("cgroup_mems cgroup=g1 nodes=3") == "EINVAL"
    assert b.errno("cgroup_mems cgroup=g9 nodes=0") == "ENOENT"
    assert b.errno("cgroup_mems cgroup=/ nodes=0") == "ENOENT"
    assert b.refused("cgroup_mems cgroup=g1 nodes=x")


def test_the_same_again_moves_nothing(b: Booted) -> None:
    b.do("cgroup_mems cgroup=g1 nodes=1", "cgroup_attach cgroup=g1 target=A")
    b.do("mmap proc=A map=m1 type=private len=1", "touch_write proc=A map=m1 page=0")
    before = b.view
    b.do("cgroup_mems cgroup=g1 nodes=1", "cgroup_attach cgroup=g1 target=A")
    assert b.view == before
