# Fidelity: CUSTOM
"""Operations on files, mounts and SysV segments. Lengths and offsets in huge pages of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import huge_page_shift, huge_page_size
from models.kernel.fs import (
    FALLOC_FL_COLLAPSE_RANGE,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    sys_close,
    sys_fallocate,
    sys_ftruncate,
    sys_mount,
    sys_open,
    sys_umount,
    sys_unlink,
)
from models.kernel.memfd import sys_memfd_create
from models.kernel.opframe import (
    SLOT_SIZE,
    begin,
    begin_init,
    finish,
    free_slot,
    hstate_of,
    number,
    refuse,
)
from models.kernel.shm import do_shmat, newseg, shm_rmid
from models.kernel.task import Mapping, Task

if TYPE_CHECKING:
    from models.kernel.fs import mounts
    from models.kernel.shm import shm_ids
    from models.schema.outcome import Outcome
    from models.schema.trace import Args

FALLOC_MODES: Final = {
    "none": 0,
    "keep_size": FALLOC_FL_KEEP_SIZE,
    "punch_hole": FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
    "zero_range": FALLOC_FL_ZERO_RANGE,
    "collapse_range": FALLOC_FL_COLLAPSE_RANGE,
}
#: Options of mount(2) that are numbers, and whether they count huge pages.
MOUNT_OPTIONS: Final = {
    "size": True,
    "min_size": True,
    "size_percent": False,
    "min_size_percent": False,
    "nr_inodes": False,
}


def file_page_size(task: Task, fd: str) -> int:
    """Bytes of one huge page of an open file; 2 MiB when there is no such file."""
    file = task.fds.get(fd)
    return 1 << 21 if file is None else huge_page_size(file.f_inode.i_sb.hstate)


def op_open(args: Args) -> Outcome:
    """open(2), creating the file; refused when the descriptor's name is in use."""
    task = begin(args["proc"])
    if task is None or args["fd"] in task.fds:
        return refuse()
    return finish(sys_open(str(args["fd"]), str(args["mount"]), str(args["name"])))


def op_memfd_create(args: Args) -> Outcome:
    """memfd_create(2); refused when the descriptor's name is in use."""
    task = begin(args["proc"])
    h = hstate_of(args, "size")
    if task is None or args["fd"] in task.fds or h is None:
        return refuse()
    return finish(sys_memfd_create(str(args["fd"]), huge_page_shift(h)))


def op_close(args: Args) -> Outcome:
    """close(2)."""
    if begin(args["proc"]) is None:
        return refuse()
    return finish(sys_close(str(args["fd"])))


def op_ftruncate(args: Args) -> Outcome:
    """ftruncate(2) to ``len`` huge pages."""
    task = begin(args["proc"])
    length = number(args, "len")
    if task is None or length < 0:
        return refuse()
    fd = str(args["fd"])
    return finish(sys_ftruncate(fd, length * file_page_size(task, fd)))


def op_fallocate(args: Args) -> Outcome:
    """fallocate(2) of ``len`` huge pages from ``off``."""
    task = begin(args["proc"])
    length, offset = number(args, "len", 0), number(args, "off", 0)
    mode = FALLOC_MODES.get(str(args.get("mode", "none")))
    if task is None or length < 0 or offset < 0 or mode is None:
        return refuse()
    fd = str(args["fd"])
    size = file_page_size(task, fd)
    return finish(sys_fallocate(fd, mode, offset * size, length * size))


def op_unlink(args: Args) -> Outcome:
    """unlink(2) by init."""
    begin_init()
    return finish(sys_unlink(str(args["mount"]), str(args["name"])))


def op_mount(args: Args) -> Outcome:
    """Mount hugetlbfs at a name that is not in use, with pages of ``pagesize``."""
    begin_init()
    h = hstate_of(args, "pagesize")
    name = str(args["mount"])
    if h is None or name in mounts:
        return refuse()
    options: dict[str, int] = {}
    for key, in_pages in MOUNT_OPTIONS.items():
        if key in args:
            value = number(args, key)
            if value < 0:
                return refuse()
            options[key] = value << huge_page_shift(h) if in_pages else value
    return finish(sys_mount(name, h, options))


def op_umount(args: Args) -> Outcome:
    """umount2(2) with flags 0."""
    begin_init()
    return finish(sys_umount(str(args["mount"])))


def op_shmget(args: Args) -> Outcome:
    """shmget(2) by init of a segment of ``len`` huge pages; refused when the name is in use."""
    begin_init()
    h = hstate_of(args, "size")
    length = number(args, "len")
    name = str(args["shm"])
    if h is None or length < 0 or name in shm_ids:
        return refuse()
    size = length << huge_page_shift(h)
    return finish(newseg(name, size, bool(args.get("noreserve", 0)), huge_page_shift(h)))


def op_shmat(args: Args) -> Outcome:
    """shmat(2) of a segment, as a mapping with a new name."""
    task = begin(args["proc"])
    name = str(args["map"])
    if task is None or name in task.maps:
        return refuse()
    segment = shm_ids.get(str(args["shm"]))
    if segment is None or segment.shm_file is None:
        return refuse()
    inode = segment.shm_file.f_inode
    h = inode.i_sb.hstate
    if inode.i_size > SLOT_SIZE:
        return refuse()
    addr = free_slot(task)
    ret = do_shmat(segment.name, addr)
    if ret == 0:
        task.maps[name] = Mapping(addr, inode.i_size >> huge_page_shift(h), h.index)
    return finish(ret)


def op_shm_rmid(args: Args) -> Outcome:
    """shmctl(2) with IPC_RMID by init; the name is free again afterwards."""
    begin_init()
    return finish(shm_rmid(str(args["shm"])))
