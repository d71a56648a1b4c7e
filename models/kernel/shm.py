# Fidelity: DUP
"""SysV shared memory with SHM_HUGETLB (ipc/shm.c).

A segment is known by a name. Reservations are made when it is created; each attachment is a file of
its own whose operations wrap those of hugetlbfs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.hugetlb.inode import HUGETLB_SHMFS_INODE, hstate_sizelog, hugetlb_file_setup
from models.hugetlb.structs import huge_page_size
from models.kernel.errno import EIDRM, EINVAL, ENOSPC, IS_ERR
from models.kernel.fs import alloc_file_clone, call_mmap, fput, get_file
from models.kernel.locks import down_write, up_write
from models.kernel.machine import warn_on_once
from models.kernel.mman import MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE
from models.kernel.port import ported, static_data
from models.kernel.structs import (
    VM_NORESERVE,
    File,
    FileOperations,
    Inode,
    VmArea,
    VmOperations,
)

if TYPE_CHECKING:
    from models.hugetlb.inode import hugetlb_get_unmapped_area
    from models.hugetlb.truncate import hugetlbfs_fallocate
    from models.kernel.gup import mm_populate
    from models.kernel.machine import machine
    from models.kernel.mm import do_mmap, find_vma_intersection


class ShmSegment:
    """struct shmid_kernel; ``segsz`` in bytes."""

    __slots__ = ("dest", "name", "nattch", "segsz", "shm_file")

    def __init__(self, name: str, segsz: int, shm_file: File) -> None:
        self.name = name
        self.segsz = segsz
        self.shm_file: File | None = shm_file
        self.nattch = 0
        #: SHM_DEST: goes with the last attachment.
        self.dest = False


class ShmFileData:
    """struct shm_file_data: what an attachment's file wraps."""

    __slots__ = ("file", "shp", "vm_ops")

    def __init__(self, shp: ShmSegment, file: File) -> None:
        self.shp = shp
        self.file = file
        self.vm_ops: VmOperations | None = None


#: Segment name -> the segment, until it is removed.
shm_ids: dict[str, ShmSegment]
#: Segments that were removed while attached.
shm_orphans: list[ShmSegment]
shm_file_operations_huge: FileOperations
shm_vm_ops: VmOperations


@static_data
def shm_init() -> None:
    """No segment."""
    global shm_file_operations_huge, shm_ids, shm_orphans, shm_vm_ops
    shm_ids = {}
    shm_orphans = []
    shm_file_operations_huge = FileOperations(
        mmap=shm_mmap,
        fallocate=hugetlbfs_fallocate,
        get_unmapped_area=hugetlb_get_unmapped_area,
        release=shm_release,
    )
    shm_vm_ops = VmOperations(
        fault=shm_fault,
        open=shm_open,
        close=shm_close,
        may_split=shm_may_split,
        pagesize=shm_pagesize,
    )


@ported("ipc/shm.c", "newseg")
def newseg(name: str, size: int, noreserve: bool, page_size_log: int) -> int:
    """Make a segment of ``size`` bytes and reserve for it: 0, -EINVAL, -ENOSPC or -ENOMEM."""
    if size < 1 or size >= 1 << 64:
        return -EINVAL
    hs = hstate_sizelog(page_size_log)
    if hs is None:
        return -EINVAL
    hugesize = (size + huge_page_size(hs) - 1) & ~(huge_page_size(hs) - 1)
    if hugesize >= 1 << 63:
        return -ENOSPC
    acctflag = VM_NORESERVE if noreserve else 0
    file = hugetlb_file_setup("SYSV", hugesize, acctflag, HUGETLB_SHMFS_INODE, page_size_log)
    if IS_ERR(file):
        return file
    shm_ids[name] = ShmSegment(name, size, file)
    return 0


@ported("ipc/shm.c", "shm_destroy")
def shm_destroy(shp: ShmSegment) -> None:
    """The segment goes; its memory with the last file that refers to it."""
    shm_file = shp.shm_file
    assert shm_file is not None
    shp.shm_file = None
    if shp in shm_orphans:
        shm_orphans.remove(shp)
    fput(shm_file)


@ported("ipc/shm.c", "shm_may_destroy")
def shm_may_destroy(shp: ShmSegment) -> bool:
    """Whether the segment was removed and nothing is attached to it."""
    return shp.nattch == 0 and shp.dest


@ported("ipc/shm.c", "__shm_open")
def _shm_open(sfd: ShmFileData) -> int:
    """One attachment more: 0, -EIDRM or -EINVAL when the segment is gone."""
    if sfd.shp.shm_file is None:
        return -EIDRM
    if sfd.shp.shm_file is not sfd.file:
        return -EINVAL
    sfd.shp.nattch += 1
    return 0


@ported("ipc/shm.c", "__shm_close")
def _shm_close(sfd: ShmFileData) -> None:
    """One attachment fewer; the last one of a removed segment destroys it."""
    if warn_on_once(sfd.shp.shm_file is None, "IS_ERR(shp)"):
        return
    sfd.shp.nattch -= 1
    if shm_may_destroy(sfd.shp):
        shm_destroy(sfd.shp)


def shm_file_data(vma: VmArea) -> ShmFileData:
    """What the vma's file wraps (ipc/shm.c, shm_file_data)."""
    file = vma.vm_file
    assert file is not None
    sfd = file.private_data
    assert isinstance(sfd, ShmFileData)
    return sfd


@ported("ipc/shm.c", "shm_open")
def shm_open(vma: VmArea) -> None:
    """A vma was duplicated."""
    sfd = shm_file_data(vma)
    assert sfd.vm_ops is not None
    sfd.vm_ops.open(vma)
    err = _shm_open(sfd)
    warn_on_once(err, "err")


@ported("ipc/shm.c", "shm_close")
def shm_close(vma: VmArea) -> None:
    """A vma goes."""
    sfd = shm_file_data(vma)
    assert sfd.vm_ops is not None
    sfd.vm_ops.close(vma)
    _shm_close(sfd)


@ported("ipc/shm.c", "shm_fault")
def shm_fault(vmf: object) -> Any:
    """Never called for huge pages."""
    return 0


@ported("ipc/shm.c", "shm_may_split")
def shm_may_split(vma: VmArea, addr: int) -> int:
    """Whether the vma may be split at ``addr`` (bytes): 0 or -EINVAL."""
    sfd = shm_file_data(vma)
    assert sfd.vm_ops is not None
    return sfd.vm_ops.may_split(vma, addr)


@ported("ipc/shm.c", "shm_pagesize")
def shm_pagesize(vma: VmArea) -> int:
    """Bytes of one page of the vma."""
    sfd = shm_file_data(vma)
    assert sfd.vm_ops is not None
    return sfd.vm_ops.pagesize(vma)


@ported("ipc/shm.c", "shm_mmap")
def shm_mmap(file: File, vma: VmArea) -> int:
    """Map the wrapped file and put the segment's operations on the vma: 0 or a negative errno."""
    sfd = file.private_data
    assert isinstance(sfd, ShmFileData)
    ret = _shm_open(sfd)
    if ret:
        return ret
    ret = call_mmap(sfd.file, vma)
    if ret:
        _shm_close(sfd)
        return ret
    sfd.vm_ops = vma.vm_ops
    vma.vm_ops = shm_vm_ops
    return 0


@ported("ipc/shm.c", "shm_release")
def shm_release(inode: Inode, file: File) -> int:
    """The attachment's file goes, and with it its hold on the wrapped one."""
    sfd = file.private_data
    assert isinstance(sfd, ShmFileData)
    fput(sfd.file)
    file.private_data = None
    return 0


@ported("ipc/shm.c", "do_shmat")
def do_shmat(name: str, addr: int) -> int:
    """Attach a segment at ``addr`` (bytes) of the running task: 0 or a negative errno."""
    shp = shm_ids.get(name)
    if shp is None:
        return -EINVAL
    base = shp.shm_file
    if base is None:
        return -EIDRM
    get_file(base)
    shp.nattch += 1
    size = base.f_inode.i_size
    err = 0
    file = alloc_file_clone(base, shm_file_operations_huge)
    if IS_ERR(file):
        err = file
        fput(base)
    else:
        file.private_data = ShmFileData(shp, base)
        task = machine.current
        assert task is not None
        populate = 0
        down_write(task.mm.mmap_lock)
        if addr and find_vma_intersection(task.mm, addr, addr + size) is not None:
            err = -EINVAL
        else:
            prot = PROT_READ | PROT_WRITE
            mapped, populate = do_mmap(file, addr, size, prot, MAP_SHARED | MAP_FIXED, 0, 0)
            if mapped < 0:
                err = mapped
        up_write(task.mm.mmap_lock)
        if populate:
            mm_populate(addr, populate)
        fput(file)
    shp.nattch -= 1
    if shm_may_destroy(shp):
        shm_destroy(shp)
    return err


@ported("ipc/shm.c", "shmctl_down")
def shm_rmid(name: str) -> int:
    """shmctl(2) with IPC_RMID: 0, or -EINVAL without such a segment.

    A segment that is still attached goes with its last attachment.
    """
    shp = shm_ids.get(name)
    if shp is None:
        return -EINVAL
    # The trace's name is free at once; the identifier that it stood for lives on in attachments.
    del shm_ids[name]
    if shp.nattch:
        shp.dest = True
        shm_orphans.append(shp)
    else:
        shm_destroy(shp)
    return 0
