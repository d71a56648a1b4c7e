"""Node masks, zonelists, CPUs and cpusets, against what mm/page_alloc.c computes."""

from __future__ import annotations

import pytest

from models.kernel.errno import EINVAL
from models.kernel.gfp import _GFP_THISNODE
from tests.models.linked import Kernel


def test_a_mask_is_walked_upwards_and_round() -> None:
    k = Kernel(nodes=4)
    assert k.nodes_weight(0b1010) == 2
    assert k.first_node(0b1010) == 1
    assert k.first_node(0) == 4
    assert [k.next_node(n, 0b1010) for n in (-1, 0, 1, 2, 3)] == [1, 1, 3, 3, 4]
    assert [k.next_node_in(n, 0b1010) for n in (0, 1, 3)] == [1, 3, 1]
    assert k.next_node_in(2, 0) == 4


@pytest.mark.parametrize(
    ("nodes", "lists"),
    [
        (1, [[0]]),
        (2, [[0, 1], [1, 0]]),
        # Higher nodes are preferred, and nobody's first choice twice.
        (3, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]),
    ],
)
def test_an_allocation_falls_back_from_near_to_far(nodes: int, lists: list[list[int]]) -> None:
    k = Kernel(nodes=nodes)
    assert k.node_zonelists == lists
    assert k.node_zonelist(0, 0) == lists[0]
    assert k.node_zonelist(nodes - 1, _GFP_THISNODE) == [nodes - 1]


def test_a_node_without_memory_is_in_nobodys_list() -> None:
    k = Kernel()
    k.numa_init([True, False, True])
    assert k.node_states == [0b111, 0b101, 0b111]
    assert k.node_zonelists == [[0, 2], [2, 0], [2, 0]]
    assert k.node_zonelist(1, _GFP_THISNODE) == []


def test_a_task_is_on_the_node_of_its_cpu() -> None:
    k = Kernel()
    assert k.numa_node_id() == 0
    assert k.sched_setaffinity(1) == 0
    assert k.numa_node_id() == k.numa_mem_id() == 1
    assert k.sched_setaffinity(2) == -EINVAL
    assert k.numa_node_id() == 1


def test_without_a_cpuset_all_memory_is_allowed() -> None:
    k = Kernel(nodes=3)
    assert k.cpuset_current_mems_allowed() == 0b111
    k.task.mems_allowed = 0b010
    assert k.cpuset_current_mems_allowed() == 0b010
    assert [k.cpuset_zone_allowed(n, 0) for n in range(3)] == [False, True, False]
    assert k.cpuset_nodemask_valid_mems_allowed(0b110)
    assert not k.cpuset_nodemask_valid_mems_allowed(0b101)
