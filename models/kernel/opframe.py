# Fidelity: CUSTOM
"""What all operations share: who runs, how a result is told, where mappings lie.

An operation starts with :func:`begin` or :func:`begin_init` and ends with :func:`finish` or one of
the refusals. Names of processes and mappings that do not exist are refused, as the kernel never
sees them; what does reach the kernel returns its errno.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import huge_page_size
from models.kernel.errno import ERRNO_NAMES
from models.kernel.fs import task_work_run
from models.kernel.port import static_data
from models.kernel.task import Mapping, Task
from models.schema.outcome import OK, REFUSED, Outcome
from models.schema.trace import Args, Scalar

if TYPE_CHECKING:
    from models.hugetlb.hstate import hstates
    from models.hugetlb.structs import HState
    from models.kernel.machine import machine

#: Bytes between the address ranges of two mappings, and the most a mapping can have.
SLOT_SIZE: Final = 1 << 36
#: Largest number of huge pages (or of anything else) in an argument.
MOST: Final = 1 << 30

#: The first process: root, in the root cgroup, with the default policy, on CPU 0.
init_task: Task
#: Number of the operation that runs: what a store writes.
op_number: int


@static_data
def opframe_init() -> None:
    """Nothing has run."""
    global init_task, op_number
    init_task = Task("")
    op_number = 0


def begin_init() -> None:
    """An operation of the first process begins."""
    global op_number
    op_number += 1
    machine.current = init_task


def begin(name: Scalar) -> Task | None:
    """An operation of the named process begins; None if there is no such process."""
    global op_number
    op_number += 1
    task = machine.tasks.get(str(name))
    if task is not None:
        machine.current = task
    return task


def finish(ret: int) -> Outcome:
    """The system call returned: the task goes back to user mode, init runs again."""
    task_work_run()
    machine.current = init_task
    if ret >= 0:
        return OK
    return Outcome(-1, ERRNO_NAMES[-ret])


def refuse() -> Outcome:
    """The operation never reached the kernel."""
    machine.current = init_task
    return REFUSED


def number(args: Args, key: str, default: int = -1) -> int:
    """An argument that counts something; -1 if it is missing, not a number, or out of range."""
    value = args.get(key, default)
    return value if isinstance(value, int) and 0 <= value <= MOST else -1


def node_mask(value: Scalar) -> int:
    """A list of nodes such as "0,1" as a bit mask; -1 if it is not one."""
    mask = 0
    for part in str(value).split(","):
        if not part.isdecimal() or int(part) >= 64:
            return -1
        mask |= 1 << int(part)
    return mask


def hstate_of(args: Args, key: str) -> HState | None:
    """The hstate that an argument "2M" or "1G" names, by default the first; None without it."""
    size = args.get(key, "2M")
    for h in hstates:
        if size == ("2M" if huge_page_size(h) == 1 << 21 else "1G"):
            return h
    return None


def free_slot(task: Task) -> int:
    """The lowest address (bytes) of a range that none of the task's mappings has."""
    taken = {mapping.start for mapping in task.maps.values()}
    start = SLOT_SIZE
    while start in taken:
        start += SLOT_SIZE
    return start


def mapping_size(mapping: Mapping) -> int:
    """Bytes of one huge page of the mapping."""
    return huge_page_size(hstates[mapping.hstate])


def lose_pages(task: Task, name: str, start: int, pages: int) -> None:
    """Pages (huge) of a mapping are no longer part of it; it is forgotten with the last one."""
    mapping = task.maps[name]
    everything = (1 << mapping.pages) - 1
    lost = (mapping.lost | ((1 << max(pages, 0)) - 1) << start) & everything
    if lost == everything:
        del task.maps[name]
    else:
        task.maps[name] = mapping._replace(lost=lost)
