# Fidelity: CUSTOM
"""Files, inodes and mounts of hugetlbfs, without path lookup: a mount is known by a name.

A mount and its superblock are one structure here. A directory entry and an open file each hold one
reference to the inode (in the C both hold the dentry, which holds the inode). The last reference to
a file that a task drops is released when the task returns to user mode, in the reverse order of the
drops, as the C's task work does: which inode is evicted last decides the order of the free lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import HState
from models.kernel.errno import (
    EBADF,
    EBUSY,
    EFBIG,
    EINVAL,
    ENOENT,
    EOPNOTSUPP,
    IS_ERR,
)
from models.kernel.locks import down_write, up_write
from models.kernel.machine import bug_on, warn_on
from models.kernel.port import ported, static_data
from models.kernel.structs import File, FileOperations, Inode, SuperBlock

if TYPE_CHECKING:
    from models.hugetlb.inode import (
        hugetlbfs_alloc_inode,
        hugetlbfs_create,
        hugetlbfs_destroy_inode,
        hugetlbfs_file_operations,
        hugetlbfs_get_tree,
        hugetlbfs_put_super,
    )
    from models.hugetlb.truncate import hugetlbfs_evict_inode, hugetlbfs_setattr
    from models.kernel.machine import machine
    from models.kernel.structs import VmArea
    from models.kernel.task import Task

S_IFREG: Final = 0o100000
S_IFDIR: Final = 0o040000
S_IFMT: Final = 0o170000
#: Bit of ``Inode.i_flags``: internal to the kernel, such as a SysV segment.
S_PRIVATE: Final = 1 << 9
FMODE_READ: Final = 1
FMODE_WRITE: Final = 2
#: Largest file size in bytes (MAX_LFS_FILESIZE of 64 bits).
MAX_LFS_FILESIZE: Final = (1 << 63) - 1
LLONG_MAX: Final = (1 << 63) - 1

FALLOC_FL_ALLOCATE_RANGE: Final = 0x00
FALLOC_FL_KEEP_SIZE: Final = 0x01
FALLOC_FL_PUNCH_HOLE: Final = 0x02
FALLOC_FL_COLLAPSE_RANGE: Final = 0x08
FALLOC_FL_ZERO_RANGE: Final = 0x10
FALLOC_FL_INSERT_RANGE: Final = 0x20
FALLOC_FL_UNSHARE_RANGE: Final = 0x40
FALLOC_FL_MODE_MASK: Final = 0x7A

#: Mount name -> the mount.
mounts: dict[str, SuperBlock]


@static_data
def fs_init() -> None:
    """No file system is mounted."""
    global mounts
    mounts = {}


# ---- inodes ----


def inode_lock(inode: Inode) -> None:
    """Take the inode's semaphore for writing (include/linux/fs.h, inode_lock)."""
    down_write(inode.i_rwsem)


def inode_unlock(inode: Inode) -> None:
    """Release the inode's semaphore (include/linux/fs.h, inode_unlock)."""
    up_write(inode.i_rwsem)


@ported("fs/inode.c", "new_inode")
def new_inode(sb: SuperBlock) -> Inode | None:
    """A fresh inode of the superblock with one reference, or None when it may have no more."""
    inode = hugetlbfs_alloc_inode(sb)
    if inode is not None:
        sb.inodes.append(inode)
    return inode


@ported("fs/inode.c", "drop_nlink")
def drop_nlink(inode: Inode) -> None:
    """One directory entry fewer."""
    warn_on(inode.i_nlink == 0, "inode->i_nlink == 0")
    inode.i_nlink -= 1


@ported("fs/inode.c", "clear_nlink")
def clear_nlink(inode: Inode) -> None:
    """The inode has no directory entry."""
    inode.i_nlink = 0


@ported("include/linux/fs.h", "i_size_write")
def i_size_write(inode: Inode, i_size: int) -> None:
    """Set the file's size in bytes."""
    inode.i_size = i_size


@ported("fs/inode.c", "evict")
def evict(inode: Inode) -> None:
    """Tear an inode down: its pages, its reservations, then itself."""
    inode.i_sb.inodes.remove(inode)
    hugetlbfs_evict_inode(inode)
    hugetlbfs_destroy_inode(inode)


@ported("fs/inode.c", "iput")
def iput(inode: Inode) -> None:
    """Drop one reference; hugetlbfs hashes no inode, so the last one evicts it, linked or not."""
    bug_on(inode.i_count <= 0, "inode->i_state & I_CLEAR")
    inode.i_count -= 1
    if inode.i_count == 0:
        evict(inode)


# ---- files ----


@ported("fs/file_table.c", "alloc_file_pseudo")
def alloc_file_pseudo(inode: Inode, mnt: SuperBlock, name: str, fops: FileOperations) -> File | int:
    """An open file of an inode without a directory entry; takes over the caller's reference."""
    file = File(inode, name)
    file.f_op = fops
    mnt.s_active += 1
    return file


@ported("fs/file_table.c", "alloc_file_clone")
def alloc_file_clone(base: File, fops: FileOperations) -> File | int:
    """Another open file of the same inode, with other operations."""
    base.f_inode.i_count += 1
    return alloc_file_pseudo(base.f_inode, base.f_inode.i_sb, base.name, fops)


@ported("include/linux/fs.h", "get_file")
def get_file(file: File) -> File:
    """Take one reference to an open file."""
    bug_on(file.f_count <= 0, "get_file: use-after-free")
    file.f_count += 1
    return file


@ported("fs/file.c", "fget")
def fget(fd: str) -> File | None:
    """The running task's open file of that name, with a reference, or None."""
    assert machine.current is not None
    file = machine.current.fds.get(fd)
    return None if file is None else get_file(file)


@ported("fs/file_table.c", "__fput")
def _fput(file: File) -> None:
    """Release an open file that nobody refers to."""
    inode = file.f_inode
    sb = inode.i_sb
    if file.f_op is not None and file.f_op.release is not None:
        file.f_op.release(inode, file)
    iput(inode)
    sb.s_active -= 1


@ported("fs/file_table.c", "fput")
def fput(file: File) -> None:
    """Drop one reference; the last is released when the task returns to user mode."""
    bug_on(file.f_count <= 0, "fput: use-after-free")
    file.f_count -= 1
    if file.f_count == 0:
        task = machine.current
        if task is None:
            _fput(file)
        else:
            task.task_works.append(file)


@ported("kernel/task_work.c", "task_work_run")
def task_work_run() -> None:
    """Release the files that the running task dropped, the last dropped first.

    Releasing one may drop another: then again, until none is left.
    """
    task = machine.current
    assert task is not None
    while task.task_works:
        works = task.task_works
        task.task_works = []
        for file in reversed(works):
            _fput(file)


@ported("fs/file.c", "fd_install")
def fd_install(fd: str, file: File) -> None:
    """Give the running task an open file under a name, at the lowest unused number."""
    task = machine.current
    assert task is not None
    number = 0
    while number in task.fd_numbers.values():
        number += 1
    task.fds[fd] = file
    task.fd_numbers[fd] = number


@ported("fs/open.c", "close")
def sys_close(fd: str) -> int:
    """close(2) by the running task: 0 or -EBADF. The file is released at once."""
    task = machine.current
    assert task is not None
    file = task.fds.pop(fd, None)
    if file is None:
        return -EBADF
    del task.fd_numbers[fd]
    file.f_count -= 1
    if file.f_count == 0:
        _fput(file)
    return 0


@ported("fs/file.c", "dup_fd")
def dup_fd(parent: Task, child: Task) -> None:
    """Give the child of a fork the parent's open files."""
    for name, file in parent.fds.items():
        child.fds[name] = get_file(file)
    child.fd_numbers.update(parent.fd_numbers)


@ported("fs/file.c", "exit_files")
def exit_files(task: Task) -> None:
    """Close all files of an exiting task, the lowest descriptor first."""
    for name in sorted(task.fds, key=task.fd_numbers.__getitem__):
        fput(task.fds[name])
    task.fds.clear()
    task.fd_numbers.clear()


@ported("fs/open.c", "openat")
def sys_open(fd: str, mount: str, name: str) -> int:
    """open(2) for reading and writing, creating the file if it does not exist.

    Returns 0; -ENOENT without such a mount, -ENOSPC when the mount may have no more inodes.
    """
    sb = mounts.get(mount)
    if sb is None:
        return -ENOENT
    inode = sb.names.get(name)
    if inode is None:
        root = sb.s_root
        assert root is not None
        inode_lock(root)
        error = hugetlbfs_create(root, name, 0o644)
        inode_unlock(root)
        if error:
            return error
        inode = sb.names[name]
    inode.i_count += 1
    file = alloc_file_pseudo(inode, sb, name, hugetlbfs_file_operations)
    if IS_ERR(file):
        return file
    fd_install(fd, file)
    return 0


@ported("fs/namei.c", "do_unlinkat")
def sys_unlink(mount: str, name: str) -> int:
    """unlink(2): 0, or -ENOENT without such a mount or file."""
    sb = mounts.get(mount)
    if sb is None:
        return -ENOENT
    root = sb.s_root
    assert root is not None
    inode_lock(root)
    inode = sb.names.get(name)
    if inode is None:
        inode_unlock(root)
        return -ENOENT
    inode_lock(inode)
    drop_nlink(inode)
    inode_unlock(inode)
    del sb.names[name]
    inode_unlock(root)
    iput(inode)
    return 0


@ported("fs/open.c", "do_sys_ftruncate")
def sys_ftruncate(fd: str, length: int) -> int:
    """ftruncate(2) to ``length`` bytes: 0 or a negative errno."""
    if length < 0:
        return -EINVAL
    file = fget(fd)
    if file is None:
        return -EBADF
    error = -EINVAL
    if file.f_mode & FMODE_WRITE:
        inode = file.f_inode
        inode_lock(inode)
        error = hugetlbfs_setattr(inode, length)
        inode_unlock(inode)
    fput(file)
    return error


@ported("fs/open.c", "vfs_fallocate")
def vfs_fallocate(file: File, mode: int, offset: int, length: int) -> int:
    """What fallocate(2) checks for every file system, then the file's own; bytes."""
    if offset < 0 or length <= 0:
        return -EINVAL
    if mode & ~(FALLOC_FL_MODE_MASK | FALLOC_FL_KEEP_SIZE):
        return -EOPNOTSUPP
    kind = mode & FALLOC_FL_MODE_MASK
    if kind in (FALLOC_FL_ALLOCATE_RANGE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_ZERO_RANGE):
        pass
    elif kind == FALLOC_FL_PUNCH_HOLE:
        if not mode & FALLOC_FL_KEEP_SIZE:
            return -EOPNOTSUPP
    elif kind in (FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE):
        if mode & FALLOC_FL_KEEP_SIZE:
            return -EOPNOTSUPP
    else:
        return -EOPNOTSUPP
    if not file.f_mode & FMODE_WRITE:
        return -EBADF
    if offset + length > MAX_LFS_FILESIZE:
        return -EFBIG
    assert file.f_op is not None
    return file.f_op.fallocate(file, mode, offset, length)


@ported("fs/open.c", "ksys_fallocate")
def sys_fallocate(fd: str, mode: int, offset: int, length: int) -> int:
    """fallocate(2) of bytes: 0 or a negative errno."""
    file = fget(fd)
    if file is None:
        return -EBADF
    error = vfs_fallocate(file, mode, offset, length)
    fput(file)
    return error


def call_mmap(file: File, vma: VmArea) -> int:
    """The file's own part of mmap(2): 0 or a negative errno (include/linux/fs.h, call_mmap)."""
    assert file.f_op is not None
    return file.f_op.mmap(file, vma)


# ---- mounts ----


@ported("fs/namespace.c", "do_new_mount")
def sys_mount(name: str, hstate: HState, options: dict[str, int]) -> int:
    """Mount hugetlbfs with options as parsed numbers: 0 or a negative errno."""
    sb = hugetlbfs_get_tree(name, hstate, options)
    if IS_ERR(sb):
        return sb
    mounts[name] = sb
    return 0


@ported("fs/namespace.c", "do_umount")
def sys_umount(name: str) -> int:
    """umount2(2) with flags 0: 0, -EBUSY with a file open or mapped, -ENOENT without the mount."""
    sb = mounts.get(name)
    if sb is None:
        return -ENOENT
    if sb.s_active > 1:
        return -EBUSY
    del mounts[name]
    kill_litter_super(sb)
    return 0


@ported("fs/super.c", "kill_litter_super")
def kill_litter_super(sb: SuperBlock) -> None:
    """Drop all directory entries, the youngest first, then the root, then the superblock."""
    for name in reversed(list(sb.names)):
        iput(sb.names.pop(name))
    root = sb.s_root
    assert root is not None
    sb.s_root = None
    iput(root)
    hugetlbfs_put_super(sb)
