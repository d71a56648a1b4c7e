# Fidelity: CUSTOM
"""Operations that no recording has: long-term pins, and userfaultfd.

Lengths and offsets in huge pages of the mapping; without them the whole mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.gup import sys_pin, sys_unpin
from models.kernel.opframe import begin, finish, refuse
from models.kernel.structs import VM_UFFD_MINOR, VM_UFFD_MISSING
from models.kernel.syscalls_memory import page_range
from models.kernel.userfaultfd import (
    sys_uffd_continue,
    sys_uffd_copy,
    sys_uffd_poison,
    sys_uffd_register,
)

if TYPE_CHECKING:
    from models.kernel.opframe import op_number
    from models.schema.outcome import Outcome
    from models.schema.trace import Args

UFFD_MODES: Final = {
    "missing": VM_UFFD_MISSING,
    "minor": VM_UFFD_MINOR,
    "both": VM_UFFD_MISSING | VM_UFFD_MINOR,
}


def op_pin(args: Args) -> Outcome:
    """Register a part of a mapping as a buffer that is pinned for long."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if found is None:
        return refuse()
    return finish(sys_pin(found[1], found[2]))


def op_unpin(args: Args) -> Outcome:
    """Unregister all pinned buffers of a process."""
    if begin(args["proc"]) is None:
        return refuse()
    return finish(sys_unpin())


def op_uffd_register(args: Args) -> Outcome:
    """UFFDIO_REGISTER of a part of a mapping, for pages that are missing, not mapped, or both."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    modes = UFFD_MODES.get(str(args.get("mode", "missing")))
    if found is None or modes is None:
        return refuse()
    return finish(sys_uffd_register(found[1], found[2], modes))


def op_uffd_copy(args: Args) -> Outcome:
    """UFFDIO_COPY into a part of a mapping; the first page reads as the operation's number."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if found is None:
        return refuse()
    return finish(sys_uffd_copy(found[1], op_number, found[2]))


def op_uffd_continue(args: Args) -> Outcome:
    """UFFDIO_CONTINUE of a part of a mapping."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if found is None:
        return refuse()
    return finish(sys_uffd_continue(found[1], found[2]))


def op_uffd_poison(args: Args) -> Outcome:
    """UFFDIO_POISON of a part of a mapping."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if found is None:
        return refuse()
    return finish(sys_uffd_poison(found[1], found[2]))
