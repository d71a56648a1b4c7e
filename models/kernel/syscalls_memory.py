# Fidelity: CUSTOM
"""Operations of processes: their beginning and end, mappings, loads and stores.

Lengths and offsets in huge pages of the mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import huge_page_shift
from models.kernel.errno import IS_ERR
from models.kernel.mm import ksys_mmap_pgoff, sys_munmap
from models.kernel.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_HUGE_SHIFT,
    MAP_HUGETLB,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from models.kernel.opframe import (
    SLOT_SIZE,
    begin,
    begin_init,
    finish,
    free_slot,
    hstate_of,
    lose_pages,
    mapping_size,
    number,
    refuse,
)
from models.kernel.process import Touch, do_exit, do_fork, exit_pins, touch
from models.kernel.structs import PAGE_SHIFT
from models.kernel.task import Mapping, Task
from models.schema.outcome import Outcome

if TYPE_CHECKING:
    from models.kernel.machine import machine
    from models.kernel.opframe import init_task, op_number
    from models.schema.trace import Args

PROTS: Final = {"none": PROT_NONE, "r": PROT_READ, "rw": PROT_READ | PROT_WRITE}


def page_range(task: Task, args: Args) -> tuple[Mapping, int, int] | None:
    """The mapping that ``map`` names, and ``start`` and ``len`` in bytes of address space.

    By default the whole mapping; None when there is no such mapping or the range leaves its slot.
    """
    mapping = task.maps.get(str(args["map"]))
    if mapping is None:
        return None
    size = mapping_size(mapping)
    start = number(args, "start", 0)
    pages = number(args, "len", mapping.pages)
    if start < 0 or pages < 0 or (start + pages) * size > SLOT_SIZE:
        return None
    return mapping, mapping.start + start * size, pages * size


def op_mmap(args: Args) -> Outcome:
    """mmap(2) at an address range of its own; refused when the mapping's name is in use."""
    task = begin(args["proc"])
    name = str(args["map"])
    h = hstate_of(args, "size")
    pages = number(args, "len")
    offset = number(args, "off", 0)
    prot = PROTS.get(str(args.get("prot", "rw")))
    if task is None or name in task.maps or h is None or pages < 0 or offset < 0 or prot is None:
        return refuse()
    fd = str(args["fd"]) if "fd" in args else None
    file = task.fds.get(fd) if fd is not None else None
    if file is not None:
        h = file.f_inode.i_sb.hstate
    shift = huge_page_shift(h)
    if pages << shift > SLOT_SIZE:
        return refuse()
    flags = MAP_FIXED_NOREPLACE | (MAP_PRIVATE if args["type"] == "private" else MAP_SHARED)
    if fd is None:
        flags |= MAP_ANONYMOUS | MAP_HUGETLB | shift << MAP_HUGE_SHIFT
    if args.get("noreserve", 0):
        flags |= MAP_NORESERVE
    if args.get("populate", 0):
        flags |= MAP_POPULATE
    pgoff = offset << (shift - PAGE_SHIFT) if fd is not None else 0
    ret = ksys_mmap_pgoff(free_slot(task), pages << shift, prot, flags, fd, pgoff)
    if ret >= 0:
        task.maps[name] = Mapping(ret, pages, h.index)
    return finish(ret)


def op_munmap(args: Args) -> Outcome:
    """munmap(2), of the whole mapping without ``start`` and ``len``."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if task is None or found is None:
        return refuse()
    mapping, start, length = found
    ret = sys_munmap(start, length)
    if ret >= 0:
        size = mapping_size(mapping)
        lose_pages(task, str(args["map"]), (start - mapping.start) // size, length // size)
    return finish(ret)


def told(seen: Touch) -> Outcome:
    """The outcome of a load or a store."""
    finish(0)
    if seen.signal is not None:
        return Outcome(-1, None, seen.signal, seen.si_code)
    return Outcome(0, value=seen.value)


def touched_address(args: Args) -> tuple[Task, int] | None:
    """The process and the address (bytes) that ``page`` of a mapping names, or None."""
    task = begin(args["proc"])
    page = number(args, "page")
    mapping = task.maps.get(str(args["map"])) if task is not None else None
    if task is None or mapping is None or page < 0:
        return None
    offset = page * mapping_size(mapping)
    return None if offset >= SLOT_SIZE else (task, mapping.start + offset)


def op_touch_read(args: Args) -> Outcome:
    """One load from the start of a page."""
    found = touched_address(args)
    if found is None:
        return refuse()
    return told(touch(found[0], found[1], False, 0))


def op_touch_write(args: Args) -> Outcome:
    """One store of the operation's number at the start of a page."""
    found = touched_address(args)
    if found is None:
        return refuse()
    return told(touch(found[0], found[1], True, op_number))


def op_spawn(args: Args) -> Outcome:
    """Fork init; refused when the process's name is in use."""
    begin_init()
    name = str(args["id"])
    if name in machine.tasks:
        return refuse()
    child = do_fork(init_task, name)
    return finish(child if IS_ERR(child) else 0)


def op_fork(args: Args) -> Outcome:
    """fork(2); refused when the child's name is in use."""
    task = begin(args["proc"])
    name = str(args["child"])
    if task is None or name in machine.tasks:
        return refuse()
    child = do_fork(task, name)
    return finish(child if IS_ERR(child) else 0)


def op_exit(args: Args) -> Outcome:
    """Unpin what is pinned, then _exit(2)."""
    task = begin(args["proc"])
    if task is None:
        return refuse()
    exit_pins(task)
    do_exit(task)
    return finish(0)


def op_kill(args: Args) -> Outcome:
    """SIGKILL, until the process is gone; refused while it has pins, which would go later."""
    task = begin(args["proc"])
    if task is None or task.pins:
        return refuse()
    do_exit(task)
    return finish(0)
