"""hugetlbfs (fs/hugetlbfs/inode.c): mounting, inodes, mmap and files without a name.

Sizes and offsets of files are in bytes, lengths of mappings in bytes, limits of mounts in huge
pages of the mount's hstate; -1 means no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.hstate import default_hstate, size_to_hstate
from models.hugetlb.inline import hstate_file, hstate_index, hstate_inode
from models.hugetlb.structs import (
    HUGE_MAX_HSTATE,
    huge_page_order,
    huge_page_shift,
    huge_page_size,
)
from models.kernel.errno import EINVAL, ENODEV, ENOENT, ENOMEM, ENOSPC, IS_ERR
from models.kernel.fs import (
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    S_PRIVATE,
    alloc_file_pseudo,
    clear_nlink,
    i_size_write,
    inode_lock,
    inode_unlock,
    iput,
    new_inode,
)
from models.kernel.kref import kref_put
from models.kernel.locks import spin_lock, spin_lock_irq, spin_unlock, spin_unlock_irq
from models.kernel.port import ported, static_data
from models.kernel.structs import (
    PAGE_SHIFT,
    VM_DONTEXPAND,
    VM_HUGETLB,
    VM_NORESERVE,
    VM_WRITE,
    File,
    FileOperations,
    Inode,
    SuperBlock,
)

if TYPE_CHECKING:
    from models.hugetlb.hstate import hstates
    from models.hugetlb.reserve import hugetlb_reserve_pages
    from models.hugetlb.structs import HState
    from models.hugetlb.subpool import hugepage_new_subpool, hugepage_put_subpool
    from models.hugetlb.truncate import hugetlbfs_fallocate
    from models.hugetlb.vm_ops import hugetlb_vm_ops
    from models.hugetlb.vma_resv import resv_map_alloc, resv_map_release
    from models.kernel.structs import VmArea

#: How a size option of mount(2) was written.
NO_SIZE: Final = 0
SIZE_STD: Final = 1
SIZE_PERCENT: Final = 2

#: ``creat_flags`` of hugetlb_file_setup(): a SysV segment, or a file behind anonymous memory.
HUGETLB_SHMFS_INODE: Final = 1
HUGETLB_ANONHUGE_INODE: Final = 2

#: Bits of ``vm_pgoff`` that would make a byte offset negative.
PGOFF_LOFFT_MAX: Final = ((1 << (PAGE_SHIFT + 1)) - 1) << (64 - (PAGE_SHIFT + 1))

F_SEAL_SEAL: Final = 0x0001
F_SEAL_SHRINK: Final = 0x0002
F_SEAL_GROW: Final = 0x0004
F_SEAL_WRITE: Final = 0x0008
F_SEAL_FUTURE_WRITE: Final = 0x0010

#: The kernel's own mount of each hstate, for files without a name.
hugetlbfs_vfsmount: list[SuperBlock | None]
hugetlbfs_file_operations: FileOperations


@static_data
def hugetlbfs_init_data() -> None:
    """No internal mount yet."""
    global hugetlbfs_file_operations, hugetlbfs_vfsmount
    hugetlbfs_vfsmount = [None] * HUGE_MAX_HSTATE
    hugetlbfs_file_operations = FileOperations(
        mmap=hugetlbfs_file_mmap,
        fallocate=hugetlbfs_fallocate,
        get_unmapped_area=hugetlb_get_unmapped_area,
        release=None,
    )


class HugetlbfsFsContext:
    """struct hugetlbfs_fs_context: the options of one mount(2)."""

    __slots__ = (
        "hstate",
        "max_hpages",
        "max_size_opt",
        "max_val_type",
        "min_hpages",
        "min_size_opt",
        "min_val_type",
        "nr_inodes",
    )

    def __init__(self, hstate: HState) -> None:
        self.hstate = hstate
        self.max_size_opt = 0
        self.min_size_opt = 0
        self.max_hpages = -1
        self.nr_inodes = -1
        self.min_hpages = -1
        self.max_val_type = NO_SIZE
        self.min_val_type = NO_SIZE


# ---- mmap ----


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_file_mmap")
def hugetlbfs_file_mmap(file: File, vma: VmArea) -> int:
    """Make a vma one of huge pages and reserve for it: 0, -EINVAL or -ENOMEM.

    A writable mapping beyond the end of the file makes the file longer.
    """
    inode = file.f_inode
    h = hstate_file(file)
    vma.vm_flags |= VM_HUGETLB | VM_DONTEXPAND
    vma.vm_ops = hugetlb_vm_ops
    if vma.vm_pgoff & PGOFF_LOFFT_MAX:
        return -EINVAL
    if vma.vm_pgoff & ((huge_page_size(h) - 1) >> PAGE_SHIFT):
        return -EINVAL
    vma_len = vma.vm_end - vma.vm_start
    length = vma_len + (vma.vm_pgoff << PAGE_SHIFT)
    if length >= 1 << 63:
        return -EINVAL
    inode_lock(inode)
    ret = -ENOMEM
    vm_flags = vma.vm_flags
    if inode.i_flags & S_PRIVATE:
        vm_flags |= VM_NORESERVE
    if hugetlb_reserve_pages(
        inode,
        vma.vm_pgoff >> huge_page_order(h),
        length >> huge_page_shift(h),
        vma,
        vm_flags,
    ):
        ret = 0
        if vma.vm_flags & VM_WRITE and inode.i_size < length:
            i_size_write(inode, length)
    inode_unlock(inode)
    return ret


@ported("fs/hugetlbfs/inode.c", "hugetlb_get_unmapped_area")
def hugetlb_get_unmapped_area(file: File, addr: int, length: int, pgoff: int, flags: int) -> int:
    """Check the address range (bytes) that the caller fixed: ``addr``, or -EINVAL.

    Operations always map at an address of their own choice, so that none is searched here.
    """
    h = hstate_file(file)
    if length & (huge_page_size(h) - 1):
        return -EINVAL
    if prepare_hugepage_range(file, addr, length):
        return -EINVAL
    return addr


@ported("include/asm-generic/hugetlb.h", "prepare_hugepage_range")
def prepare_hugepage_range(file: File, addr: int, length: int) -> int:
    """Whether address and length (bytes) are multiples of the huge page: 0 or -EINVAL."""
    h = hstate_file(file)
    if length & (huge_page_size(h) - 1):
        return -EINVAL
    if addr & (huge_page_size(h) - 1):
        return -EINVAL
    return 0


# ---- inodes ----


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_get_root")
def hugetlbfs_get_root(sb: SuperBlock, ctx: HugetlbfsFsContext) -> Inode | None:
    """The root directory's inode; it counts against nr_inodes like any other."""
    inode = new_inode(sb)
    if inode is not None:
        inode.i_mode = S_IFDIR | 0o755
        inode.i_nlink += 1
    return inode


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_get_inode")
def hugetlbfs_get_inode(sb: SuperBlock, directory: Inode | None, mode: int) -> Inode | None:
    """A fresh inode, a regular file's with a reservation map; None when out of memory or inodes."""
    resv_map = None
    if mode & S_IFMT == S_IFREG:
        resv_map = resv_map_alloc()
        if resv_map is None:
            return None
    inode = new_inode(sb)
    if inode is not None:
        inode.i_mode = mode
        inode.resv_map = resv_map
        inode.seals = F_SEAL_SEAL
    elif resv_map is not None:
        kref_put(resv_map, resv_map_release)
    return inode


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_mknod")
def hugetlbfs_mknod(directory: Inode, name: str, mode: int) -> int:
    """Make an inode and its directory entry, which holds the reference: 0 or -ENOSPC."""
    inode = hugetlbfs_get_inode(directory.i_sb, directory, mode)
    if inode is None:
        return -ENOSPC
    directory.i_sb.names[name] = inode
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_create")
def hugetlbfs_create(directory: Inode, name: str, mode: int) -> int:
    """Create a regular file: 0 or -ENOSPC."""
    return hugetlbfs_mknod(directory, name, mode | S_IFREG)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_dec_free_inodes")
def hugetlbfs_dec_free_inodes(sbinfo: SuperBlock) -> bool:
    """Take one inode of the mount's limit; whether there was one."""
    if sbinfo.free_inodes >= 0:
        spin_lock(sbinfo.stat_lock)
        if not sbinfo.free_inodes:
            spin_unlock(sbinfo.stat_lock)
            return False
        sbinfo.free_inodes -= 1
        spin_unlock(sbinfo.stat_lock)
    return True


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_inc_free_inodes")
def hugetlbfs_inc_free_inodes(sbinfo: SuperBlock) -> None:
    """Give one inode back to the mount's limit."""
    if sbinfo.free_inodes >= 0:
        spin_lock(sbinfo.stat_lock)
        sbinfo.free_inodes += 1
        spin_unlock(sbinfo.stat_lock)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_alloc_inode")
def hugetlbfs_alloc_inode(sb: SuperBlock) -> Inode | None:
    """An inode of the superblock, or None when the mount may have no more."""
    if not hugetlbfs_dec_free_inodes(sb):
        return None
    inode = Inode(sb.next_ino, sb)
    sb.next_ino += 1
    return inode


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_destroy_inode")
def hugetlbfs_destroy_inode(inode: Inode) -> None:
    """The inode is gone: the mount may have another."""
    hugetlbfs_inc_free_inodes(inode.i_sb)


# ---- superblocks ----


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_statfs")
def hugetlbfs_statfs(sb: SuperBlock) -> tuple[int, int, int]:
    """f_blocks, f_bfree and f_bavail of statfs(2) in huge pages: all 0 without any limit."""
    spin_lock(sb.stat_lock)
    blocks = free_pages = 0
    if sb.spool is not None:
        spin_lock_irq(sb.spool.lock)
        blocks = sb.spool.max_hpages
        free_pages = sb.spool.max_hpages - sb.spool.used_hpages
        spin_unlock_irq(sb.spool.lock)
    spin_unlock(sb.stat_lock)
    return blocks, free_pages, free_pages


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_put_super")
def hugetlbfs_put_super(sb: SuperBlock) -> None:
    """The superblock goes, and with it its hold on the subpool."""
    if sb.spool is not None:
        hugepage_put_subpool(sb.spool)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_size_to_hpages")
def hugetlbfs_size_to_hpages(h: HState, size_opt: int, val_type: int) -> int:
    """A size option, in bytes or in percent of the pool, as huge pages; -1 if none was given."""
    if val_type == NO_SIZE:
        return -1
    if val_type == SIZE_PERCENT:
        size_opt = (size_opt << huge_page_shift(h)) & (1 << 64) - 1
        size_opt = (size_opt * h.max_huge_pages) & (1 << 64) - 1
        size_opt //= 100
    return size_opt >> huge_page_shift(h)


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_parse_param")
def hugetlbfs_parse_param(ctx: HugetlbfsFsContext, key: str, value: int) -> int:
    """Take one option: ``size`` and ``min_size`` in bytes, or with ``_percent`` in percent of the
    pool, or ``nr_inodes``: 0 or -EINVAL. The page size is in the context already."""
    if key == "size":
        ctx.max_size_opt = value
        ctx.max_val_type = SIZE_STD
    elif key == "size_percent":
        ctx.max_size_opt = value
        ctx.max_val_type = SIZE_PERCENT
    elif key == "nr_inodes":
        ctx.nr_inodes = value
    elif key == "min_size":
        ctx.min_size_opt = value
        ctx.min_val_type = SIZE_STD
    elif key == "min_size_percent":
        ctx.min_size_opt = value
        ctx.min_val_type = SIZE_PERCENT
    else:
        return -EINVAL
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_validate")
def hugetlbfs_validate(ctx: HugetlbfsFsContext) -> int:
    """Turn the size options into huge pages: 0, or -EINVAL for a minimum above the maximum."""
    ctx.max_hpages = hugetlbfs_size_to_hpages(ctx.hstate, ctx.max_size_opt, ctx.max_val_type)
    ctx.min_hpages = hugetlbfs_size_to_hpages(ctx.hstate, ctx.min_size_opt, ctx.min_val_type)
    if ctx.max_val_type > NO_SIZE and ctx.min_hpages > ctx.max_hpages:
        return -EINVAL
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_fill_super")
def hugetlbfs_fill_super(sb: SuperBlock, ctx: HugetlbfsFsContext) -> int:
    """Set up a superblock, with a subpool if a size or a minimum size was given: 0 or -ENOMEM.

    The minimum size is reserved here.
    """
    sb.max_inodes = ctx.nr_inodes
    sb.free_inodes = ctx.nr_inodes
    sb.spool = None
    if ctx.max_hpages != -1 or ctx.min_hpages != -1:
        sb.spool = hugepage_new_subpool(ctx.hstate, ctx.max_hpages, ctx.min_hpages)
        if sb.spool is None:
            return -ENOMEM
    sb.s_root = hugetlbfs_get_root(sb, ctx)
    if sb.s_root is None:
        if sb.spool is not None:
            hugepage_put_subpool(sb.spool)
        return -ENOMEM
    return 0


@ported("fs/hugetlbfs/inode.c", "hugetlbfs_get_tree")
def hugetlbfs_get_tree(name: str, hstate: HState, options: dict[str, int]) -> SuperBlock | int:
    """A new superblock for the options, or -EINVAL or -ENOMEM."""
    ctx = HugetlbfsFsContext(hstate)
    for key, value in options.items():
        err = hugetlbfs_parse_param(ctx, key, value)
        if err:
            return err
    err = hugetlbfs_validate(ctx)
    if err:
        return err
    sb = SuperBlock(name, hstate)
    err = hugetlbfs_fill_super(sb, ctx)
    return err or sb


# ---- files without a name ----


@ported("include/linux/hugetlb.h", "hstate_sizelog")
def hstate_sizelog(page_size_log: int) -> HState | None:
    """The hstate with pages of 2**``page_size_log`` bytes, the default one for 0, or None."""
    if not page_size_log:
        return default_hstate()
    if page_size_log < 64:
        return size_to_hstate(1 << page_size_log)
    return None


@ported("fs/hugetlbfs/inode.c", "get_hstate_idx")
def get_hstate_idx(page_size_log: int) -> int:
    """Index of the hstate with pages of 2**``page_size_log`` bytes (0: the default), or -1."""
    h = hstate_sizelog(page_size_log)
    if h is None:
        return -1
    return hstate_index(h)


@ported("fs/hugetlbfs/inode.c", "hugetlb_file_setup")
def hugetlb_file_setup(
    name: str, size: int, acctflag: int, creat_flags: int, page_size_log: int
) -> File | int:
    """An open file without a name on the kernel's own mount, ``size`` bytes long and reserved for.

    Returns -ENODEV without such an hstate, -ENOENT without its mount, -ENOSPC, or -ENOMEM.
    """
    hstate_idx = get_hstate_idx(page_size_log)
    if hstate_idx < 0:
        return -ENODEV
    mnt = hugetlbfs_vfsmount[hstate_idx]
    if mnt is None:
        return -ENOENT
    inode = hugetlbfs_get_inode(mnt, None, S_IFREG | 0o777)
    if inode is None:
        return -ENOSPC
    if creat_flags == HUGETLB_SHMFS_INODE:
        inode.i_flags |= S_PRIVATE
    inode.i_size = size
    clear_nlink(inode)
    file: File | int
    if not hugetlb_reserve_pages(
        inode, 0, size >> huge_page_shift(hstate_inode(inode)), None, acctflag
    ):
        file = -ENOMEM
    else:
        file = alloc_file_pseudo(inode, mnt, name, hugetlbfs_file_operations)
    if not IS_ERR(file):
        return file
    iput(inode)
    return file


@ported("fs/hugetlbfs/inode.c", "mount_one_hugetlbfs")
def mount_one_hugetlbfs(h: HState) -> SuperBlock | int:
    """The kernel's own mount for an hstate."""
    return hugetlbfs_get_tree("", h, {})


@ported("fs/hugetlbfs/inode.c", "init_hugetlbfs_fs")
def init_hugetlbfs_fs() -> int:
    """Mount hugetlbfs internally once for each hstate: 0."""
    for i, h in enumerate(hstates):
        mnt = mount_one_hugetlbfs(h)
        hugetlbfs_vfsmount[i] = None if IS_ERR(mnt) else mnt
    return 0
