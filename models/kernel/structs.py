# Fidelity: CUSTOM
"""Structures of the kernel around mm/hugetlb.c, cut down to the members that HugeTLB reads.

Addresses, lengths of mappings and file sizes are in bytes, page-cache indices and ``vm_pgoff`` in
base pages of 4096 bytes unless said otherwise, as in the C. Structures hold no functions but in
tables of operations, so that one system's state can be copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from models.kernel.lists import ListHead
from models.kernel.locks import Lock, RWSem

if TYPE_CHECKING:
    from models.hugetlb.structs import HState, HugetlbCgroup, ResvMap, Subpool, VmaLock
    from models.kernel.mempolicy import MemPolicy
    from models.kernel.task import Task

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
NUMA_NO_NODE: Final = -1

VM_READ: Final = 0x1
VM_WRITE: Final = 0x2
VM_EXEC: Final = 0x4
VM_SHARED: Final = 0x8
VM_MAYREAD: Final = 0x10
VM_MAYWRITE: Final = 0x20
VM_MAYEXEC: Final = 0x40
VM_MAYSHARE: Final = 0x80
VM_UFFD_MISSING: Final = 0x200
VM_UFFD_WP: Final = 0x1000
VM_LOCKED: Final = 0x2000
VM_DONTCOPY: Final = 0x20000
VM_DONTEXPAND: Final = 0x40000
VM_ACCOUNT: Final = 0x100000
VM_NORESERVE: Final = 0x200000
VM_HUGETLB: Final = 0x400000
VM_WIPEONFORK: Final = 0x2000000
VM_UFFD_MINOR: Final = 1 << 41


class Folio:
    """struct folio of a huge page; ``hpg`` holds the HPG_* bits, ``data`` the word at its start.

    ``order`` is log2 of base pages. ``canon`` is the name that the observation gave it at first
    use (-1: not yet seen); the models never read it.
    """

    __slots__ = (
        "_hugetlb_cgroup",
        "_hugetlb_cgroup_rsvd",
        "anon_exclusive",
        "canon",
        "data",
        "dirty",
        "hpg",
        "hugetlb",
        "hwpoison",
        "index",
        "locked",
        "lru",
        "mapcount",
        "mapping",
        "memcg",
        "nid",
        "order",
        "pfn",
        "pincount",
        "raw_hwp",
        "refcount",
        "subpool",
        "uptodate",
    )

    def __init__(self, pfn: int, nid: int, order: int) -> None:
        self.pfn = pfn
        self.nid = nid
        self.order = order
        self.lru: ListHead[Folio] = ListHead(self)
        self.refcount = 1
        self.mapcount = 0
        self.pincount = 0
        #: Page cache, an AnonVma for anonymous folios, or None.
        self.mapping: AddressSpace | AnonVma | None = None
        self.index = 0
        self.hpg = 0
        self.hugetlb = False
        self.locked = False
        self.uptodate = False
        self.dirty = False
        self.hwpoison = False
        #: Base pages of the folio that a memory error hit, by their offset.
        self.raw_hwp: tuple[int, ...] = ()
        self.anon_exclusive = False
        self.subpool: Subpool | None = None
        self._hugetlb_cgroup: HugetlbCgroup | None = None
        self._hugetlb_cgroup_rsvd: HugetlbCgroup | None = None
        self.memcg: Any = None
        self.data = 0
        self.canon = -1


class AnonVma:
    """struct anon_vma: what marks a folio as anonymous, and the vmas that may map it."""

    __slots__ = ("vmas",)

    def __init__(self) -> None:
        self.vmas: list[VmArea] = []


class Pte(NamedTuple):
    """The value of a huge page-table entry. ``special`` names a non-present entry ("" if none):
    "migration", "hwpoison", "poisoned" or "uffd_wp" markers."""

    folio: Folio | None = None
    write: bool = False
    dirty: bool = False
    young: bool = False
    uffd_wp: bool = False
    special: str = ""


PTE_NONE: Final = Pte()


class PteSlot:
    """Where an entry lives: what ``pte_t *`` points to; ``ptl`` is the lock of its table."""

    __slots__ = ("pte", "ptl")

    def __init__(self, ptl: Lock) -> None:
        self.pte = PTE_NONE
        self.ptl = ptl


class AddressSpace:
    """struct address_space: page cache (index in huge pages of its hstate, as the hugetlb page
    cache uses since 6.7 after shifting), shared and private mappings of the file."""

    __slots__ = ("host", "i_mmap", "i_mmap_rwsem", "i_private_lock", "pages")

    def __init__(self, host: Inode | None) -> None:
        self.host = host
        self.pages: dict[int, Folio] = {}
        #: Every vma that maps the file, in the order of insertion (the interval tree's walk order
        #: is by start offset; see the walk function).
        self.i_mmap: list[VmArea] = []
        self.i_mmap_rwsem = RWSem("i_mmap_rwsem")
        self.i_private_lock = Lock("i_private_lock")


class Inode:
    """struct inode with its hugetlbfs_inode_info; bytes, but ``i_blocks`` in units of 512 bytes."""

    __slots__ = (
        "i_blocks",
        "i_count",
        "i_flags",
        "i_ino",
        "i_lock",
        "i_mapping",
        "i_mode",
        "i_nlink",
        "i_rwsem",
        "i_sb",
        "i_size",
        "policy",
        "resv_map",
        "seals",
    )

    def __init__(self, i_ino: int, i_sb: SuperBlock) -> None:
        self.i_ino = i_ino
        self.i_sb = i_sb
        self.i_size = 0
        self.i_blocks = 0
        self.i_nlink = 1
        self.i_count = 1
        self.i_flags = 0
        self.i_mode = 0o100644
        self.i_lock = Lock("i_lock")
        self.i_rwsem = RWSem("i_rwsem")
        self.i_mapping = AddressSpace(self)
        #: i_private_data of the inode's own address space.
        self.resv_map: ResvMap | None = None
        self.policy: Any = None
        self.seals = 0


class SuperBlock:
    """struct super_block of a hugetlbfs mount with its hugetlbfs_sb_info."""

    __slots__ = (
        "free_inodes",
        "hstate",
        "inodes",
        "max_inodes",
        "name",
        "names",
        "next_ino",
        "s_active",
        "s_root",
        "spool",
        "stat_lock",
    )

    def __init__(self, name: str, hstate: HState) -> None:
        self.name = name
        self.hstate = hstate
        self.spool: Subpool | None = None
        self.max_inodes = -1
        self.free_inodes = -1
        self.stat_lock = Lock("stat_lock")
        #: Directory entries of the root directory.
        self.names: dict[str, Inode] = {}
        self.inodes: list[Inode] = []
        self.next_ino = 1
        #: The mount's count (mount and superblock are one here): itself and its open files.
        self.s_active = 1
        self.s_root: Inode | None = None


class File:
    """struct file of a hugetlbfs inode; ``private_data`` is what a SysV attachment hangs there."""

    __slots__ = ("f_count", "f_inode", "f_mapping", "f_mode", "f_op", "name", "private_data")

    def __init__(self, inode: Inode, name: str = "") -> None:
        self.f_inode = inode
        self.f_mapping = inode.i_mapping
        self.f_count = 1
        self.f_mode = 3
        self.f_op: FileOperations | None = None
        self.private_data: Any = None
        self.name = name


class FileOperations(NamedTuple):
    """struct file_operations; made by a static_data function so that its entries are linked."""

    mmap: Callable[[File, VmArea], int]
    fallocate: Callable[[File, int, int, int], int]
    get_unmapped_area: Callable[[File, int, int, int, int], int]
    release: Callable[[Inode, File], int] | None


class VmOperations(NamedTuple):
    """struct vm_operations_struct; made by a static_data function so that entries are linked."""

    fault: Callable[..., Any]
    open: Callable[[VmArea], None]
    close: Callable[[VmArea], None]
    may_split: Callable[[VmArea, int], int]
    pagesize: Callable[[VmArea], int]


class VmArea:
    """struct vm_area_struct. ``vm_private_data`` is the reservation map of a private mapping or the
    vma lock of a shared one; ``vm_private_flags`` are the HPAGE_RESV_* bits that the C keeps in the
    pointer's low bits."""

    __slots__ = (
        "anon_vma",
        "anon_vma_chain",
        "name",
        "uffd",
        "vm_end",
        "vm_file",
        "vm_flags",
        "vm_mm",
        "vm_ops",
        "vm_pgoff",
        "vm_policy",
        "vm_private_data",
        "vm_private_flags",
        "vm_start",
    )

    def __init__(self, mm: MM | None, start: int, end: int, flags: int) -> None:
        self.vm_mm = mm
        self.vm_start = start
        self.vm_end = end
        self.vm_flags = flags
        self.vm_pgoff = 0
        self.vm_file: File | None = None
        self.vm_ops: VmOperations | None = None
        self.vm_private_data: ResvMap | VmaLock | None = None
        self.vm_private_flags = 0
        self.vm_policy: MemPolicy | None = None
        self.anon_vma: AnonVma | None = None
        #: Every anon_vma that lists this vma, the newest first.
        self.anon_vma_chain: list[AnonVma] = []
        self.uffd: Any = None
        self.name = ""


class MM:
    """struct mm_struct: vmas by rising address, page-table slots by address."""

    __slots__ = (
        "hugetlb_usage",
        "mm_users",
        "mmap_lock",
        "owner",
        "page_table",
        "page_table_lock",
        "pinned",
        "pmd_locks",
        "vmas",
    )

    def __init__(self) -> None:
        self.vmas: list[VmArea] = []
        self.page_table: dict[int, PteSlot] = {}
        self.page_table_lock = Lock("page_table_lock")
        #: Locks of the tables that hold 2M entries, by address >> 30.
        self.pmd_locks: dict[int, Lock] = {}
        self.mmap_lock = RWSem("mmap_lock")
        self.hugetlb_usage = 0
        self.mm_users = 1
        #: MMF_HAS_PINNED
        self.pinned = False
        self.owner: Task | None = None
