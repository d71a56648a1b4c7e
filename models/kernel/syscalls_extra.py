# Fidelity: CUSTOM
"""Operations beyond hugetlb-trace/1: pins, userfaultfd, memory errors, guests, and failures.

Lengths and offsets in huge pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.guest import (
    sys_guest_alloc,
    sys_guest_create,
    sys_guest_destroy,
    sys_guest_free,
)
from models.kernel.gup import sys_pin, sys_unpin
from models.kernel.memfd import sys_memfd_pin_folios
from models.kernel.opframe import (
    begin,
    begin_init,
    finish,
    hstate_of,
    number,
    refuse,
)
from models.kernel.structs import (
    VM_UFFD_MINOR,
    VM_UFFD_MISSING,
    VM_UFFD_WP,
)
from models.kernel.syscalls_file import file_page_size
from models.kernel.syscalls_memory import page_range
from models.kernel.userfaultfd import (
    sys_uffd_continue,
    sys_uffd_copy,
    sys_uffd_poison,
    sys_uffd_register,
    sys_uffd_unregister,
    sys_uffd_writeprotect,
)

if TYPE_CHECKING:
    from models.kernel.fs import mounts
    from models.kernel.machine import machine
    from models.kernel.opframe import op_number
    from models.schema.outcome import Outcome
    from models.schema.trace import Args

UFFD_MODES: Final = {
    "missing": VM_UFFD_MISSING,
    "wp": VM_UFFD_WP,
    "minor": VM_UFFD_MINOR,
    "all": VM_UFFD_MISSING | VM_UFFD_MINOR | VM_UFFD_WP,
}
#: What to make fail: the word of the operation -> the failure point.
KMALLOCS: Final = {
    "region": "kmalloc_region",
    "resv_map": "kmalloc_resv_map",
    "vma_lock": "kmalloc_vma_lock",
    "subpool": "kmalloc_subpool",
    "raw_hwp": "kmalloc_raw_hwp",
    "vma": "kmalloc_vma",
    "anon_vma": "kmalloc_anon_vma",
    "page_table": "page_table",
}
CHARGES: Final = {
    "hugetlb": "charge_hugetlb",
    "hugetlb_rsvd": "charge_hugetlb_rsvd",
    "memory": "charge_memcg",
}
COPIES: Final = {
    "user": "copy_from_user",
    "user_atomic": "copy_from_user_atomic",
    "page": "copy_page",
}


def arm(args: Args, points: dict[str, str], default: str) -> Outcome:
    """The next ``count`` calls of a failure point fail."""
    begin_init()
    point = points.get(str(args.get("what", default)))
    count = number(args, "count")
    if point is None or count < 1:
        return refuse()
    machine.fail[point] = count
    return finish(0)


def op_fail_kmalloc(args: Args) -> Outcome:
    """The next ``count`` allocations of a kernel structure fail, by default of file regions."""
    return arm(args, KMALLOCS, "region")


def op_fail_charge(args: Args) -> Outcome:
    """The next ``count`` charges to a cgroup fail, by default for the use of huge pages."""
    return arm(args, CHARGES, "hugetlb")


def op_fail_copy(args: Args) -> Outcome:
    """The next ``count`` copies fail, by default those from user space that may fault."""
    return arm(args, COPIES, "user")


# ---- pins ----


def op_pin(args: Args) -> Outcome:
    """Register a part of a mapping as a buffer that devices may use for long, named ``pin``."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    name = str(args["pin"])
    if task is None or found is None or name in task.pins:
        return refuse()
    return finish(sys_pin(name, found[1], found[2]))


def op_unpin(args: Args) -> Outcome:
    """Unregister a buffer of a process, of memory or of a file."""
    task = begin(args["proc"])
    name = str(args["pin"])
    if task is None or name not in task.pins:
        return refuse()
    return finish(sys_unpin(name))


def op_memfd_pin_folios(args: Args) -> Outcome:
    """Pin ``len`` huge pages of a file from ``off``, allocating what is missing."""
    task = begin(args["proc"])
    offset, length = number(args, "off", 0), number(args, "len")
    name = str(args["pin"])
    if task is None or offset < 0 or length < 0 or name in task.pins:
        return refuse()
    fd = str(args["fd"])
    size = file_page_size(task, fd)
    return finish(sys_memfd_pin_folios(name, fd, offset * size, length * size))


# ---- userfaultfd ----


def op_uffd_register(args: Args) -> Outcome:
    """UFFDIO_REGISTER of a part of a mapping; ``mode`` missing (default), minor, wp or all."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    modes = UFFD_MODES.get(str(args.get("mode", "missing")))
    if found is None or modes is None:
        return refuse()
    return finish(sys_uffd_register(found[1], found[2], modes))


def op_uffd_unregister(args: Args) -> Outcome:
    """UFFDIO_UNREGISTER of a part of a mapping."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if found is None:
        return refuse()
    return finish(sys_uffd_unregister(found[1], found[2]))


def filled_range(args: Args) -> tuple[int, int] | None:
    """Address and length (bytes) of ``len`` huge pages of a mapping from ``page``, by default 1."""
    task = begin(args["proc"])
    if task is None:
        return None
    chosen = {"map": args["map"], "start": args["page"], "len": args.get("len", 1)}
    found = page_range(task, chosen)
    return found[1:] if found is not None else None


def op_uffd_copy(args: Args) -> Outcome:
    """UFFDIO_COPY of pages, the first of which begins with the operation's number.

    With ``cold`` the source was never touched: the copy with locks held fails, and the words are 0.
    With ``wp`` the pages are write-protected from the start.
    """
    found = filled_range(args)
    if found is None:
        return refuse()
    cold, protect = bool(args.get("cold", 0)), bool(args.get("wp", 0))
    return finish(sys_uffd_copy(found[0], op_number, found[1], cold, protect))


def op_uffd_continue(args: Args) -> Outcome:
    """UFFDIO_CONTINUE of pages of a mapping, write-protected with ``wp``."""
    found = filled_range(args)
    if found is None:
        return refuse()
    return finish(sys_uffd_continue(*found, bool(args.get("wp", 0))))


def op_uffd_poison(args: Args) -> Outcome:
    """UFFDIO_POISON of pages of a mapping."""
    found = filled_range(args)
    if found is None:
        return refuse()
    return finish(sys_uffd_poison(*found))


def op_uffd_writeprotect(args: Args) -> Outcome:
    """UFFDIO_WRITEPROTECT of a part of a mapping, or with ``resolve`` the end of that."""
    task = begin(args["proc"])
    found = page_range(task, args) if task is not None else None
    if found is None:
        return refuse()
    return finish(sys_uffd_writeprotect(found[1], found[2], not args.get("resolve", 0)))


# ---- guests ----


def op_guest_create(args: Args) -> Outcome:
    """Make a guest of ``len`` huge pages, with a subpool of ``min_size`` to ``max_size`` pages.

    Without ``max_size`` the subpool has room for exactly the guest, without ``min_size`` it
    guarantees nothing.
    """
    begin_init()
    h = hstate_of(args, "size")
    name = str(args["guest"])
    length = number(args, "len")
    maximum = number(args, "max_size", length)
    minimum = number(args, "min_size", 0) if "min_size" in args else -1
    if h is None or name in mounts or length < 0 or maximum < 0:
        return refuse()
    if "min_size" in args and minimum < 0:
        return refuse()
    noreserve = bool(args.get("noreserve", 0))
    return finish(sys_guest_create(name, h, length, maximum, minimum, noreserve))


def op_guest_alloc(args: Args) -> Outcome:
    """Allocate one page of a guest, with ``avoid_reserve`` not from what was reserved."""
    begin_init()
    page = number(args, "page")
    if page < 0:
        return refuse()
    avoid = bool(args.get("avoid_reserve", 0))
    return finish(sys_guest_alloc(str(args["guest"]), page, avoid))


def op_guest_free(args: Args) -> Outcome:
    """Give one page of a guest back."""
    begin_init()
    page = number(args, "page")
    if page < 0:
        return refuse()
    return finish(sys_guest_free(str(args["guest"]), page))


def op_guest_destroy(args: Args) -> Outcome:
    """End a guest."""
    begin_init()
    return finish(sys_guest_destroy(str(args["guest"])))
