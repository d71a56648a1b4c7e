"""Charging huge pages to the memory controller."""

from __future__ import annotations

from typing import Any

import pytest

from models.kernel.errno import EINVAL, ENOENT, ENOMEM, EOPNOTSUPP
from models.kernel.gfp import _GFP_RETRY_MAYFAIL, GFP_HIGHUSER
from models.kernel.machine import KernelBug, Unmodelled
from tests.models.linked import Kernel

N = 512
HPAGE = 2 << 20
GFP = GFP_HIGHUSER | _GFP_RETRY_MAYFAIL


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel(accounting=True)
    kernel.cgroup_mkdir("a")
    kernel.cgroup_attach_task("a", kernel.task)
    return kernel


def memcg(k: Kernel, path: str = "a") -> Any:
    return k.cgroup_lookup(path).memory.cgroup


def test_a_folio_carries_charge_and_reference(k: Kernel) -> None:
    current = k.get_mem_cgroup_from_current()
    assert (current, current.css.refcount) == (memcg(k), 2)
    assert k.mem_cgroup_hugetlb_try_charge(current, GFP, N) == 0
    folio = k.new_folio(0, 0, 9)
    k.mem_cgroup_commit_charge(folio, current)
    k.mem_cgroup_put(current)
    assert (current.memory.usage, current.css.refcount) == (N, 2)
    assert k.cgroup_file_read("a", "memory.current") == f"{HPAGE}\n"
    other = k.new_folio(512, 1, 9)
    folio.locked = other.locked = True
    k.mem_cgroup_migrate(folio, other)
    k.mem_cgroup_uncharge(folio)
    assert (current.memory.usage, folio.memcg, other.memcg) == (N, None, current)
    k.mem_cgroup_uncharge(other)
    assert (current.memory.usage, current.css.refcount) == (0, 1)


def test_a_charge_can_be_cancelled(k: Kernel) -> None:
    current = memcg(k)
    k.mem_cgroup_hugetlb_try_charge(current, GFP, N)
    k.mem_cgroup_cancel_charge(current, N)
    assert current.memory.usage == 0


def test_at_the_limit_it_tries_often_and_fails(k: Kernel) -> None:
    assert k.cgroup_file_write("a", "memory.max", "3M") == 0
    assert k.mem_cgroup_hugetlb_try_charge(memcg(k), GFP, N) == 0
    assert k.mem_cgroup_hugetlb_try_charge(memcg(k), GFP, N) == -ENOMEM
    assert memcg(k).memory.usage == N
    # The first attempt, one after draining, and sixteen retries.
    assert memcg(k).events_max == 18
    assert memcg(k, "/").events_max == 0
    assert k.cgroup_file_read("a", "memory.events") == "max 18\n"


def test_the_root_is_never_charged(k: Kernel) -> None:
    k.cgroup_attach_task("/", k.task)
    root = k.get_mem_cgroup_from_current()
    assert k.mem_cgroup_hugetlb_try_charge(root, GFP, N) == 0
    folio = k.new_folio(0, 0, 9)
    k.mem_cgroup_commit_charge(folio, root)
    k.mem_cgroup_uncharge(folio)
    k.mem_cgroup_cancel_charge(root, N)
    assert (root.memory.usage, root.css.refcount) == (0, 1)


def test_a_folio_is_charged_once(k: Kernel) -> None:
    folio = k.new_folio(0, 0, 9)
    k.mem_cgroup_commit_charge(folio, memcg(k))
    with pytest.raises(KernelBug, match="folio_memcg_charged"):
        k.mem_cgroup_commit_charge(folio, memcg(k))


def test_an_injected_failure(k: Kernel) -> None:
    k.fail("charge_memcg")
    assert k.mem_cgroup_hugetlb_try_charge(memcg(k), GFP, N) == -ENOMEM
    assert memcg(k).memory.usage == 0


def test_a_charge_that_may_not_fail_is_not_modelled(k: Kernel) -> None:
    k.cgroup_file_write("a", "memory.max", "0")
    with pytest.raises(Unmodelled):
        k.try_charge(memcg(k), GFP_HIGHUSER, N)


def test_control_files(k: Kernel) -> None:
    assert k.cgroup_file_read("a", "memory.max") == "max\n"
    assert k.cgroup_file_write("a", "memory.max", "1x") == -EINVAL
    assert k.cgroup_file_write("a", "memory.current", "1") == -EINVAL
    assert k.cgroup_file_write("a", "memory.low", "1") == -ENOENT
    assert k.cgroup_file_read("a", "memory.low") == -ENOENT
    assert k.cgroup_file_write("a", "memory.max", "4M") == 0
    assert k.cgroup_file_read("a", "memory.max") == f"{2 * HPAGE}\n"
    k.mem_cgroup_hugetlb_try_charge(memcg(k), GFP, N)
    with pytest.raises(Unmodelled):
        k.cgroup_file_write("a", "memory.max", "1M")


@pytest.mark.parametrize("cgroups", [True, False])
def test_huge_pages_are_charged_only_on_request(cgroups: bool) -> None:
    k = Kernel(cgroups=cgroups)
    current = k.get_mem_cgroup_from_current()
    assert (current is not None) == cgroups
    assert k.mem_cgroup_hugetlb_try_charge(current, GFP, N) == -EOPNOTSUPP
    k.mem_cgroup_put(current)
    folio = k.new_folio(0, 0, 9)
    k.mem_cgroup_uncharge(folio)
    assert folio.memcg is None
