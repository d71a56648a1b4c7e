# Fidelity: CUSTOM
"""Operations of processes on parts of mappings and on memory policies.

Lengths and offsets in huge pages of the mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.mempolicy import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_LOCAL,
    MPOL_PREFERRED,
    MPOL_PREFERRED_MANY,
    MPOL_WEIGHTED_INTERLEAVE,
    kernel_mbind,
    kernel_set_mempolicy,
)
from models.kernel.mman import (
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_FREE,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_REMOVE,
    MADV_WIPEONFORK,
)
from models.kernel.opframe import (
    begin,
    finish,
    node_mask,
    refuse,
)
from models.kernel.syscalls_memory import page_range

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
