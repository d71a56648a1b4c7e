# Fidelity: CUSTOM
"""A user of huge pages like guest_memfd: memory of a guest that no process ever maps.

The kernel has no such user at the steps of the built-in series; this is how one would call them: a
file of its own, in a subpool of its own, reserved for as a whole when it is made, and filled page
by page through a pseudo-VMA, as fallocate(2) does. It shows up as a mount of the guest's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.inode import (
    hugetlbfs_get_inode,
    hugetlbfs_get_tree,
    hugetlbfs_put_super,
)
from models.hugetlb.structs import HState, huge_page_order, huge_page_shift, huge_page_size
from models.hugetlb.truncate import hugetlbfs_punch_hole
from models.kernel.errno import EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, IS_ERR
from models.kernel.filemap import filemap_get_folio
from models.kernel.fs import S_IFREG, alloc_file_pseudo, clear_nlink, fput, iput, sys_umount
from models.kernel.locks import mutex_lock, mutex_unlock
from models.kernel.page import (
    _folio_mark_uptodate,
    folio_put,
    folio_set_hugetlb_migratable,
    folio_unlock,
    folio_zero_user,
)
from models.kernel.port import static_data
from models.kernel.structs import (
    VM_HUGETLB,
    VM_MAYSHARE,
    VM_NORESERVE,
    VM_SHARED,
    File,
    SuperBlock,
    VmArea,
)

if TYPE_CHECKING:
    from models.hugetlb.externs import alloc_hugetlb_folio
    from models.hugetlb.fault import (
        hugetlb_add_to_page_cache,
        hugetlb_fault_mutex_hash,
        hugetlb_fault_mutex_table,
    )
    from models.hugetlb.inode import hugetlbfs_file_operations
    from models.hugetlb.reserve import hugetlb_reserve_pages
    from models.hugetlb.vma_resv import restore_reserve_on_error
    from models.kernel.fs import mounts
    from models.kernel.machine import machine


class Guest:
    """One guest's memory: its file, and whether it was made without reserving."""

    __slots__ = ("file", "noreserve")

    def __init__(self, file: File, noreserve: bool) -> None:
        self.file = file
        self.noreserve = noreserve


#: Guest's name -> its memory.
guests: dict[str, Guest]


@static_data
def guest_init() -> None:
    """No guest."""
    global guests
    guests = {}


def drop_guest_super(sb: SuperBlock) -> None:
    """Undo a superblock of which nothing is used."""
    root = sb.s_root
    assert root is not None
    sb.s_root = None
    iput(root)
    hugetlbfs_put_super(sb)


def sys_guest_create(
    name: str, h: HState, pages: int, max_pages: int, min_pages: int, noreserve: bool
) -> int:
    """Make a guest of ``pages`` huge pages with a subpool of its own.

    ``max_pages`` is the subpool's limit, ``min_pages`` its minimum (-1: none). 0, -EINVAL, -ENOSPC
    or -ENOMEM.
    """
    if not pages:
        return -EINVAL
    shift = huge_page_shift(h)
    options = {"size": max_pages << shift}
    if min_pages >= 0:
        options["min_size"] = min_pages << shift
    sb = hugetlbfs_get_tree(name, h, options)
    if IS_ERR(sb):
        return sb
    inode = hugetlbfs_get_inode(sb, None, S_IFREG | 0o600)
    if inode is None:
        drop_guest_super(sb)
        return -ENOSPC
    inode.i_size = pages << shift
    clear_nlink(inode)
    if not hugetlb_reserve_pages(inode, 0, pages, None, VM_NORESERVE if noreserve else 0):
        iput(inode)
        drop_guest_super(sb)
        return -ENOMEM
    file = alloc_file_pseudo(inode, sb, name, hugetlbfs_file_operations)
    if IS_ERR(file):
        return file
    mounts[name] = sb
    guests[name] = Guest(file, noreserve)
    return 0


def sys_guest_alloc(name: str, index: int, avoid_reserve: bool) -> int:
    """Allocate page ``index`` (huge) of a guest: 0, -EEXIST, -EINVAL, -ENOENT, -ENOMEM, -ENOSPC.

    With ``avoid_reserve`` the page is not taken from what was reserved.
    """
    guest = guests.get(name)
    if guest is None:
        return -ENOENT
    file = guest.file
    inode = file.f_inode
    mapping = inode.i_mapping
    h = inode.i_sb.hstate
    if index << huge_page_shift(h) >= inode.i_size:
        return -EINVAL
    task = machine.current
    pseudo_vma = VmArea(task.mm if task is not None else None, 0, 0, 0)
    pseudo_vma.vm_flags = VM_HUGETLB | VM_MAYSHARE | VM_SHARED
    if guest.noreserve:
        pseudo_vma.vm_flags |= VM_NORESERVE
    pseudo_vma.vm_file = file
    addr = index * huge_page_size(h)
    hash_ = hugetlb_fault_mutex_hash(mapping, index)
    mutex_lock(hugetlb_fault_mutex_table[hash_])
    folio = filemap_get_folio(mapping, index << huge_page_order(h))
    if not IS_ERR(folio):
        folio_put(folio)
        mutex_unlock(hugetlb_fault_mutex_table[hash_])
        return -EEXIST
    folio = alloc_hugetlb_folio(pseudo_vma, addr, avoid_reserve)
    if IS_ERR(folio):
        mutex_unlock(hugetlb_fault_mutex_table[hash_])
        return folio
    folio_zero_user(folio, addr)
    _folio_mark_uptodate(folio)
    error = hugetlb_add_to_page_cache(folio, mapping, index)
    if error:
        restore_reserve_on_error(h, pseudo_vma, addr, folio)
        folio_put(folio)
        mutex_unlock(hugetlb_fault_mutex_table[hash_])
        return error
    mutex_unlock(hugetlb_fault_mutex_table[hash_])
    folio_set_hugetlb_migratable(folio)
    folio_unlock(folio)
    folio_put(folio)
    return 0


def sys_guest_free(name: str, index: int) -> int:
    """Give page ``index`` (huge) of a guest back, as a hole in its file: 0, -EINVAL or -ENOENT."""
    guest = guests.get(name)
    if guest is None:
        return -ENOENT
    inode = guest.file.f_inode
    size = huge_page_size(inode.i_sb.hstate)
    if index * size >= inode.i_size:
        return -EINVAL
    return hugetlbfs_punch_hole(inode, index * size, size)


def sys_guest_destroy(name: str) -> int:
    """End a guest: its pages and reservations, then its subpool: 0 or -ENOENT."""
    guest = guests.pop(name, None)
    if guest is None:
        return -ENOENT
    task = machine.current
    machine.current = None
    # Without a task the file is released at once, not on return to user mode.
    fput(guest.file)
    machine.current = task
    return sys_umount(name)
