# Fidelity: CUSTOM
"""Operations of processes on parts of mappings and on memory policies.

Lengths and offsets in huge pages of the mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.madvise import sys_madvise
from models.kernel.mbind import kernel_mbind, kernel_set_mempolicy
from models.kernel.memory_failure import take_mce_signal
from models.kernel.mempolicy import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_LOCAL,
    MPOL_PREFERRED,
    MPOL_PREFERRED_MANY,
    MPOL_WEIGHTED_INTERLEAVE,
)
from models.kernel.migrate import kernel_migrate_pages
from models.kernel.mman import (
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_FREE,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_REMOVE,
    MADV_WIPEONFORK,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from models.kernel.mprotect import sys_mprotect
from models.kernel.mremap import sys_mremap
from models.kernel.opframe import (
    SLOT_SIZE,
    begin,
    finish,
    free_slot,
    lose_pages,
    mapping_size,
    node_mask,
    number,
    refuse,
)
from models.kernel.soft_offline import MADV_HWPOISON, MADV_SOFT_OFFLINE
from models.kernel.syscalls_memory import PROTS, page_range
from models.kernel.task import Mapping

if TYPE_CHECKING:
    from models.schema.outcome import Outcome
    from models.schema.trace import Args

ADVICE: Final = {
    "dontneed": MADV_DONTNEED,
    "free": MADV_FREE,
    "remove": MADV_REMOVE,
    "dontfork": MADV_DONTFORK,
    "wipeonfork": MADV_WIPEONFORK,
    "populate_read": MADV_POPULATE_READ,
    "populate_write": MADV_POPULATE_WRITE,
    "hwpoison": MADV_HWPOISON,
    "soft_offline": MADV_SOFT_OFFLINE,
}
MODES: Final = {
    "default": MPOL_DEFAULT,
    "preferred": MPOL_PREFERRED,
    "bind": MPOL_BIND,
    "interleave": MPOL_INTERLEAVE,
    "local": MPOL_LOCAL,
    "preferred_many": MPOL_PREFERRED_MANY,
    "weighted_interleave": MPOL_WEIGHTED_INTERLEAVE,
}


def op_mbind(args: Args) -> Outcome:
    """mbind(2) with flags 0 of a part of a mapping, by default of the whole."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    mode = MODES.get(str(args["mode"]))
    nodes = node_mask(args["nodes"]) if "nodes" in args else 0
    if found is None or mode is None or nodes < 0:
        return refuse()
    return finish(kernel_mbind(found[1], found[2], mode, nodes, 0))


def op_set_mempolicy(args: Args) -> Outcome:
    """set_mempolicy(2)."""
    task = begin(args["proc"])
    mode = MODES.get(str(args["mode"]))
    nodes = node_mask(args["nodes"]) if "nodes" in args else 0
    if task is None or mode is None or nodes < 0:
        return refuse()
    return finish(kernel_set_mempolicy(mode, nodes))


def op_mremap(args: Args) -> Outcome:
    """mremap(2) of a part of a mapping, to a mapping of a new name or in place."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if task is None or found is None:
        return refuse()
    mapping, start, length = found
    size = mapping_size(mapping)
    first, pages = (start - mapping.start) // size, length // size
    new_pages = number(args, "new_len", pages)
    name, to = str(args["map"]), str(args.get("to", ""))
    if new_pages < 0 or (first + new_pages) * size > SLOT_SIZE or to in task.maps:
        return refuse()
    if to:
        target = free_slot(task)
        ret = sys_mremap(start, length, new_pages * size, MREMAP_MAYMOVE | MREMAP_FIXED, target)
        if ret >= 0:
            task.maps[to] = Mapping(target, new_pages, mapping.hstate)
            lose_pages(task, name, first, pages)
    else:
        ret = sys_mremap(start, length, new_pages * size, 0, 0)
        if ret >= 0:
            if first + new_pages > mapping.pages:
                task.maps[name] = mapping._replace(pages=first + new_pages)
            lose_pages(task, name, first + new_pages, pages - new_pages)
    return finish(ret)


def op_mprotect(args: Args) -> Outcome:
    """mprotect(2) of a part of a mapping."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    prot = PROTS.get(str(args["prot"]))
    if found is None or prot is None:
        return refuse()
    return finish(sys_mprotect(found[1], found[2], prot))


def op_madvise(args: Args) -> Outcome:
    """madvise(2) of a part of a mapping, by default of the whole. "hwpoison" may send a signal."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    advice = ADVICE.get(str(args["advice"]))
    if found is None or advice is None:
        return refuse()
    outcome = finish(sys_madvise(found[1], found[2], advice))
    code = take_mce_signal()
    return outcome._replace(signal="SIGBUS", si_code=code) if code else outcome


def op_migrate_pages(args: Args) -> Outcome:
    """migrate_pages(2) of the process itself."""
    task = begin(args["proc"])
    source, target = node_mask(args["from"]), node_mask(args["to"])
    if task is None or source < 0 or target < 0:
        return refuse()
    return finish(kernel_migrate_pages(source, target))
