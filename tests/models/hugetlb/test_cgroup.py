"""The hugetlb cgroup: charges, limits, events, files, and what outlives a directory."""

from __future__ import annotations

from typing import Any

import pytest

from models.kernel.errno import EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ESRCH
from models.kernel.machine import KernelHang
from models.kernel.page_counter import PAGE_COUNTER_MAX
from tests.models.linked import Kernel

HPAGE = 2 << 20
N = 512


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.pool(4)
    for path in ("p", "p/c"):
        assert kernel.cgroup_mkdir(path) == 0
    assert kernel.cgroup_attach_task("p/c", kernel.task) == 0
    return kernel


def cg(k: Kernel, path: str) -> Any:
    return k.cgroup_lookup(path).hugetlb.cgroup


def usage(k: Kernel, *, rsvd: bool = False) -> tuple[int, ...]:
    """Huge pages charged to root, p and p/c."""
    return tuple(
        (cg(k, path).rsvd_hugepage if rsvd else cg(k, path).hugepage)[0].usage // N
        for path in ("/", "p", "p/c")
    )


def charged_folio(k: Kernel) -> Any:
    """A folio of node 0 in use, charged to the running task's cgroup."""
    ret, h_cg = k.hugetlb_cgroup_charge_cgroup(0, N)
    assert ret == 0
    k.spin_lock_irq(k.hugetlb_lock)
    folio = k.dequeue_hugetlb_folio_node_exact(k.h, 0)
    k.hugetlb_cgroup_commit_charge(0, N, h_cg, folio)
    k.spin_unlock_irq(k.hugetlb_lock)
    return folio


def test_a_charge_counts_up_to_the_root(k: Kernel) -> None:
    folio = charged_folio(k)
    assert usage(k) == (1, 1, 1)
    assert folio._hugetlb_cgroup is cg(k, "p/c")
    assert k.cgroup_file_read("p", "hugetlb.2MB.numa_stat") == f"total={HPAGE} N0={HPAGE} N1=0\n"
    k.spin_lock_irq(k.hugetlb_lock)
    k.hugetlb_cgroup_uncharge_folio(0, N, folio)
    k.hugetlb_cgroup_uncharge_folio(0, N, folio)
    k.spin_unlock_irq(k.hugetlb_lock)
    assert (usage(k), folio._hugetlb_cgroup) == ((0, 0, 0), None)
    assert cg(k, "p/c").nodeinfo[0] == [0, 0]


def test_only_reservations_hold_the_css(k: Kernel) -> None:
    css = cg(k, "p/c").css
    k.hugetlb_cgroup_charge_cgroup(0, N)
    assert css.refcount == 1
    ret, h_cg = k.hugetlb_cgroup_charge_cgroup_rsvd(0, N)
    assert (ret, css.refcount, usage(k, rsvd=True)) == (0, 2, (1, 1, 1))
    k.hugetlb_cgroup_uncharge_cgroup_rsvd(0, N, h_cg)
    k.hugetlb_cgroup_uncharge_cgroup(0, N, h_cg)
    assert (css.refcount, usage(k, rsvd=True), usage(k)) == (1, (0, 0, 0), (0, 0, 0))


@pytest.mark.parametrize("file", ["max", "rsvd.max"])
def test_an_ancestors_limit_counts_as_an_event_below_and_at_it(k: Kernel, file: str) -> None:
    charge = (
        k.hugetlb_cgroup_charge_cgroup if file == "max" else k.hugetlb_cgroup_charge_cgroup_rsvd
    )
    assert k.cgroup_file_write("p", f"hugetlb.2MB.{file}", str(HPAGE)) == 0
    assert charge(0, N)[0] == 0
    ret, h_cg = charge(0, N)
    assert (ret, h_cg) == (-ENOMEM, cg(k, "p/c"))
    assert usage(k, rsvd=file != "max") == (1, 1, 1)
    assert h_cg.css.refcount == (1 if file == "max" else 2)
    events = [
        (
            k.cgroup_file_read(path, "hugetlb.2MB.events"),
            k.cgroup_file_read(path, "hugetlb.2MB.events.local"),
        )
        for path in ("p", "p/c")
    ]
    assert events == [("max 1\n", "max 0\n"), ("max 1\n", "max 1\n")]
    assert cg(k, "/").events == [0, 0]


def test_an_injected_failure_is_as_a_limit(k: Kernel) -> None:
    k.fail("charge_hugetlb")
    assert k.hugetlb_cgroup_charge_cgroup(0, N)[0] == -ENOMEM
    assert (usage(k), cg(k, "p/c").events[0]) == ((0, 0, 0), 1)
    assert k.hugetlb_cgroup_charge_cgroup(0, N)[0] == 0


def test_control_files(k: Kernel) -> None:
    path = "p/c"
    assert k.cgroup_file_read(path, "hugetlb.2MB.max") == "max\n"
    assert k.cgroup_file_write(path, "hugetlb.2MB.max", f" {3 * HPAGE + 4096}\n") == 0
    assert k.cgroup_file_read(path, "hugetlb.2MB.max") == f"{3 * HPAGE}\n"
    assert k.cgroup_file_write(path, "hugetlb.2MB.max", "4M") == 0
    assert k.cgroup_file_read(path, "hugetlb.2MB.max") == f"{2 * HPAGE}\n"
    assert k.cgroup_file_write(path, "hugetlb.2MB.max", "max") == 0
    assert k.cgroup_file_read(path, "hugetlb.2MB.max") == "max\n"
    assert k.cgroup_file_read(path, "hugetlb.1GB.rsvd.max") == "max\n"
    assert k.cgroup_file_write(path, "hugetlb.2MB.max", "-1") == -EINVAL
    assert k.cgroup_file_write(path, "hugetlb.2MB.max", "4Mx") == -EINVAL
    assert k.cgroup_file_write(path, "hugetlb.2MB.current", "0") == -EINVAL
    assert k.cgroup_file_write(path, "hugetlb.4MB.max", "0") == -ENOENT
    assert k.cgroup_file_write(path, "hugetlb.2MB.limit_in_bytes", "0") == -ENOENT
    assert k.cgroup_file_write("/", "hugetlb.2MB.max", "0") == -ENOENT
    assert k.cgroup_file_write("q", "hugetlb.2MB.max", "0") == -ENOENT
    k.hugetlb_cgroup_charge_cgroup(0, N)
    k.hugetlb_cgroup_charge_cgroup_rsvd(0, 2 * N)
    assert k.cgroup_file_read(path, "hugetlb.2MB.current") == f"{HPAGE}\n"
    assert k.cgroup_file_read(path, "hugetlb.2MB.rsvd.current") == f"{2 * HPAGE}\n"
    assert k.cgroup_file_write(path, "hugetlb.2MB.rsvd.max", str(HPAGE)) == -EBUSY
    assert k.cgroup_file_read(path, "hugetlb.2MB.rsvd.max") == "max\n"


def test_the_limit_is_what_a_counter_holds_of_whole_huge_pages(k: Kernel) -> None:
    assert PAGE_COUNTER_MAX == 2**51 - 1
    h_cg = cg(k, "p")
    assert [counter.max for counter in h_cg.hugepage] == [2**51 - 512, 2**51 - 512 * 512]


# ---- directories ----


def test_directories(k: Kernel) -> None:
    assert k.cgroup_mkdir("p") == -EEXIST
    assert k.cgroup_mkdir("/") == -EEXIST
    assert k.cgroup_mkdir("q/r") == -ENOENT
    assert k.cgroup_rmdir("q") == -ENOENT
    assert k.cgroup_rmdir("p") == -EBUSY
    assert k.cgroup_rmdir("p/c") == -EBUSY
    # A cgroup with a process cannot hand its controllers on, one that did takes no process.
    assert k.cgroup_mkdir("p/c/d") == -EBUSY
    assert k.cgroup_attach_task("p", k.task) == -EBUSY
    assert k.cgroup_attach_task("q", k.task) == -ENOENT
    assert k.cgroup_attach_task("/", k.task) == 0
    assert k.cgroup_rmdir("p/c") == 0
    assert k.cgroup_rmdir("p") == 0
    k.task.alive = False
    assert k.cgroup_attach_task("/", k.task) == -ESRCH


def test_rmdir_moves_use_to_the_parent_and_leaves_reservations(k: Kernel) -> None:
    folio = charged_folio(k)
    h_cg = cg(k, "p/c")
    _, charged = k.hugetlb_cgroup_charge_cgroup_rsvd(0, N)
    k.cgroup_attach_task("/", k.task)
    assert k.cgroup_rmdir("p/c") == 0
    parent = cg(k, "p")
    assert folio._hugetlb_cgroup is parent
    assert (h_cg.hugepage[0].usage, parent.hugepage[0].usage) == (0, N)
    assert (h_cg.nodeinfo[0][0], parent.nodeinfo[0][0]) == (0, N)
    assert (h_cg.rsvd_hugepage[0].usage, h_cg.css.refcount) == (N, 1)
    # The removed cgroup holds its parent until the reservation goes.
    assert parent.css.refcount == 2
    assert k.cgroup_rmdir("p") == 0
    assert (folio._hugetlb_cgroup, parent.css.refcount) == (cg(k, "/"), 1)
    k.hugetlb_cgroup_uncharge_cgroup_rsvd(0, N, charged)
    assert (h_cg.css.refcount, parent.css.refcount) == (0, 0)
    assert cg(k, "/").rsvd_hugepage[0].usage == 0
    assert cg(k, "/").hugepage[0].usage == N
    k.spin_lock_irq(k.hugetlb_lock)
    k.hugetlb_cgroup_uncharge_folio(0, N, folio)
    k.spin_unlock_irq(k.hugetlb_lock)
    assert cg(k, "/").hugepage[0].usage == 0
    assert k.names["machine"].warnings == []


def test_rmdir_never_ends_when_no_folio_accounts_for_the_use(k: Kernel) -> None:
    k.hugetlb_cgroup_charge_cgroup(0, N)
    k.cgroup_attach_task("/", k.task)
    with pytest.raises(KernelHang):
        k.cgroup_rmdir("p/c")


def test_a_reference_put_too_often_is_seen_when_the_cgroup_goes(k: Kernel) -> None:
    k.css_put(cg(k, "p/c").css)
    k.cgroup_attach_task("/", k.task)
    assert k.names["machine"].warnings == []
    assert k.cgroup_rmdir("p/c") == 0
    assert len(k.names["machine"].warnings) == 1


def test_migration_takes_the_charge_to_the_other_node(k: Kernel) -> None:
    old = charged_folio(k)
    k.spin_lock_irq(k.hugetlb_lock)
    new = k.dequeue_hugetlb_folio_node_exact(k.h, 1)
    old._hugetlb_cgroup_rsvd = cg(k, "p")
    k.spin_unlock_irq(k.hugetlb_lock)
    k.list_del(new.lru)
    k.hugetlb_cgroup_migrate(old, new)
    assert (old._hugetlb_cgroup, old._hugetlb_cgroup_rsvd) == (None, None)
    assert (new._hugetlb_cgroup, new._hugetlb_cgroup_rsvd) == (cg(k, "p/c"), cg(k, "p"))
    assert [nodes[0] for nodes in cg(k, "p/c").nodeinfo[:2]] == [0, N]
    assert k.list_first_entry(k.h.hugepage_activelist) is new
    assert usage(k) == (1, 1, 1)


def test_without_the_controller_nothing_is_charged() -> None:
    k = Kernel(cgroups=False)
    k.pool(1)
    assert k.hugetlb_cgroup_charge_cgroup(0, N) == (0, None)
    assert k.hugetlb_cgroup_charge_cgroup_rsvd(0, N) == (0, None)
    k.hugetlb_cgroup_uncharge_cgroup_rsvd(0, N, None)
    k.hugetlb_cgroup_uncharge_counter(k.resv_map_alloc(), 0, 1)
    folio = charged_folio(k)
    k.hugetlb_cgroup_uncharge_folio(0, N, folio)
    assert folio._hugetlb_cgroup is None
