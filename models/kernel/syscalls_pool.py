# Fidelity: CUSTOM
"""Operations on the pools beyond their size: demotion, policies, cpusets, memory errors, hotplug.

``frame`` counts frames of 2 MiB from the beginning of a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.demote import demote_store
from models.hugetlb.dissolve import dissolve_free_hugetlb_folios
from models.hugetlb.pool import hugetlb_mempolicy_sysctl_handler, nr_hugepages_mempolicy_store
from models.kernel.buddy import FRAME_ORDER
from models.kernel.contig import _alloc_contig_migrate_range
from models.kernel.cpuset import cpuset_write_resmask
from models.kernel.memory_failure import (
    MF_SW_SIMULATED,
    memory_failure,
)
from models.kernel.mempolicy import iw_node_store
from models.kernel.opframe import begin, begin_init, finish, hstate_of, node_mask, number, refuse
from models.kernel.soft_offline import soft_offline_page, unpoison_memory
from models.kernel.structs import NUMA_NO_NODE
from models.kernel.syscalls_memory import page_range

if TYPE_CHECKING:
    from models.kernel.buddy import zones
    from models.kernel.machine import machine
    from models.kernel.pgtable import pte_present
    from models.schema.outcome import Outcome
    from models.schema.trace import Args


def frame_pfn(args: Args) -> int:
    """The first base page of the frame that an operation names, or -1.

    The frame is one of a node by its number, or one that was looked up by its name.
    """
    if isinstance(args["frame"], str):
        return machine.frames.get(args["frame"], -1)
    node, frame = number(args, "node", -1), number(args, "frame")
    if not 0 <= node < len(zones) or frame < 0:
        return -1
    zone = zones[node]
    if frame >= zone.end - zone.start:
        return -1
    return (zone.start + frame) << FRAME_ORDER


def op_demote(args: Args) -> Outcome:
    """Write ``n`` to demote of the hstate, or of its node."""
    begin_init()
    h = hstate_of({"size": "1G", **args}, "size")
    n = number(args, "n")
    node = number(args, "node") if "node" in args else NUMA_NO_NODE
    if h is None or n < 0 or ("node" in args and node < 0):
        return refuse()
    return finish(demote_store(h, n, node))


def op_set_nr_hugepages_mempolicy(args: Args) -> Outcome:
    """Write ``n`` to nr_hugepages_mempolicy: the pool on the nodes of the process's policy; of the
    hstate, or the sysctl's, which is the default one's."""
    task = begin(args["proc"])
    h = hstate_of(args, "size")
    n = number(args, "n")
    if task is None or h is None or n < 0:
        return refuse()
    if args.get("sysctl"):
        return finish(hugetlb_mempolicy_sysctl_handler(n))
    return finish(nr_hugepages_mempolicy_store(h, n))


def op_set_interleave_weight(args: Args) -> Outcome:
    """Write a node's weight for weighted interleaving, 0 for the default."""
    begin_init()
    node, weight = number(args, "node"), number(args, "weight")
    if node < 0 or weight < 0:
        return refuse()
    return finish(iw_node_store(node, weight))


def op_cgroup_mems(args: Args) -> Outcome:
    """Write ``nodes`` to cpuset.mems; "-" and nothing at all mean what the parent holds."""
    begin_init()
    nodes = args["nodes"]
    mems = 0 if nodes in ("", "-") else node_mask(nodes)
    if mems < 0:
        return refuse()
    return finish(cpuset_write_resmask(str(args["cgroup"]), mems))


def op_note_frame(args: Args) -> Outcome:
    """Look up in pagemap where a page of a mapping is, and remember it by a name."""
    task = begin(args["proc"])
    chosen = {"map": args["map"], "start": args["page"], "len": 1}
    found = page_range(task, chosen) if task is not None else None
    if task is None or found is None:
        return refuse()
    slot = task.mm.page_table.get(found[1])
    if slot is None or slot.pte.folio is None or not pte_present(slot.pte):
        return refuse()
    machine.frames[str(args["frame"])] = slot.pte.folio.pfn
    return finish(0)


def op_hard_offline(args: Args) -> Outcome:
    """Write to hard_offline_page: a memory error in the first base page of a frame."""
    begin_init()
    pfn = frame_pfn(args)
    if pfn < 0:
        return refuse()
    return finish(memory_failure(pfn, MF_SW_SIMULATED))


def op_soft_offline(args: Args) -> Outcome:
    """Write to soft_offline_page: stop using the first base page of a frame."""
    begin_init()
    pfn = frame_pfn(args)
    if pfn < 0:
        return refuse()
    return finish(soft_offline_page(pfn, 0))


def op_unpoison(args: Args) -> Outcome:
    """Take back the memory error in the first base page of a frame."""
    begin_init()
    pfn = frame_pfn(args)
    if pfn < 0:
        return refuse()
    return finish(unpoison_memory(pfn))


def op_dissolve(args: Args) -> Outcome:
    """Dissolve the free huge page that has a frame, as taking memory offline does."""
    begin_init()
    pfn = frame_pfn(args)
    if pfn < 0:
        return refuse()
    return finish(dissolve_free_hugetlb_folios(pfn, pfn + (1 << FRAME_ORDER)))


def op_clear_range(args: Args) -> Outcome:
    """Clear a frame of its huge page, as an allocation of contiguous memory there does, which then
    gives the memory back at once."""
    begin_init()
    pfn = frame_pfn(args)
    if pfn < 0:
        return refuse()
    return finish(_alloc_contig_migrate_range(pfn))
