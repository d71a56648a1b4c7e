# Fidelity: CUSTOM
"""Operations of the first process on the pools and the cgroups, and failures to inject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.pool import (
    hugetlb_overcommit_handler,
    hugetlb_sysctl_handler,
    nr_hugepages_store,
    nr_overcommit_hugepages_store,
)
from models.hugetlb.structs import huge_page_size
from models.kernel.cgroup import cgroup_attach_task, cgroup_file_write, cgroup_mkdir, cgroup_rmdir
from models.kernel.nodes import sched_setaffinity
from models.kernel.opframe import begin, begin_init, finish, hstate_of, number, refuse

if TYPE_CHECKING:
    from models.kernel.machine import machine
    from models.schema.outcome import Outcome
    from models.schema.trace import Args


def op_set_nr_hugepages(args: Args) -> Outcome:
    """Write ``n`` to nr_hugepages of the hstate, or to the sysctl, which is the default one's."""
    begin_init()
    h = hstate_of(args, "size")
    n = number(args, "n")
    if h is None or n < 0:
        return refuse()
    if args.get("sysctl"):
        return finish(hugetlb_sysctl_handler(n))
    return finish(nr_hugepages_store(h, n))


def op_set_nr_overcommit_hugepages(args: Args) -> Outcome:
    """Write ``n`` to nr_overcommit_hugepages of the hstate, or to the sysctl, which is the default
    one's; -EINVAL for gigantic pages."""
    begin_init()
    h = hstate_of(args, "size")
    n = number(args, "n")
    if h is None or n < 0:
        return refuse()
    if args.get("sysctl"):
        return finish(hugetlb_overcommit_handler(n))
    return finish(nr_overcommit_hugepages_store(h, n))


def op_set_node_nr_hugepages(args: Args) -> Outcome:
    """Write ``n`` to a node's nr_hugepages of the hstate."""
    begin_init()
    h = hstate_of(args, "size")
    n = number(args, "n")
    node = number(args, "node")
    if h is None or n < 0 or node < 0:
        return refuse()
    return finish(nr_hugepages_store(h, n, node))


def op_sched_setaffinity(args: Args) -> Outcome:
    """Pin a process to a CPU."""
    cpu = number(args, "cpu")
    if begin(args["proc"]) is None or cpu < 0:
        return refuse()
    return finish(sched_setaffinity(cpu))


def op_cgroup_create(args: Args) -> Outcome:
    """mkdir in the cgroup2 file system."""
    begin_init()
    return finish(cgroup_mkdir(str(args["cgroup"])))


def op_cgroup_rmdir(args: Args) -> Outcome:
    """rmdir in the cgroup2 file system."""
    begin_init()
    return finish(cgroup_rmdir(str(args["cgroup"])))


def op_cgroup_set(args: Args) -> Outcome:
    """Write a limit (huge pages of the hstate, or "max") to hugetlb.<size>.<file>."""
    begin_init()
    h = hstate_of(args, "size")
    value = args["value"]
    if h is None:
        return refuse()
    if value != "max":
        pages = number(args, "value")
        if pages < 0:
            return refuse()
        value = pages * huge_page_size(h)
    size = "2MB" if huge_page_size(h) == 1 << 21 else "1GB"
    return finish(
        cgroup_file_write(str(args["cgroup"]), f"hugetlb.{size}.{args['file']}", str(value))
    )


def op_cgroup_attach(args: Args) -> Outcome:
    """Move a process to a cgroup ("/" is the root)."""
    begin_init()
    task = machine.tasks.get(str(args["target"]))
    if task is None:
        return refuse()
    return finish(cgroup_attach_task(str(args["cgroup"]), task))


def op_fail_buddy(args: Args) -> Outcome:
    """The next ``count`` buddy allocations that try ``node`` find it full."""
    begin_init()
    node, count = number(args, "node"), number(args, "count")
    if node < 0 or count < 1:
        return refuse()
    machine.fail[f"buddy.{node}"] = count
    return finish(0)
