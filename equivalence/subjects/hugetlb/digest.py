"""The state as one flat list: what two systems are compared by after every operation.

It holds what :mod:`equivalence.subjects.hugetlb.observation` shows, in a fixed order and without
names, and is built in one pass with as few steps of the interpreter as can be: comparing must cost
little beside the operations themselves. A number or a marker before each part of varying length
keeps lists of equal content but other structure apart. A test holds both views against each other.

Folios, subpools and cgroups get their numbers here, when they are first seen after an operation.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from models.hugetlb.structs import ResvMap, VmaLock
from models.kernel.port import static_data
from models.kernel.structs import AnonVma, Folio

if TYPE_CHECKING:
    from models.hugetlb.cgroup import root_h_cgroup
    from models.hugetlb.hstate import hstates
    from models.hugetlb.inode import hugetlbfs_vfsmount
    from models.kernel.buddy import zones
    from models.kernel.cgroup import cgroup_root, cgroup_walk
    from models.kernel.fs import mounts
    from models.kernel.machine import machine
    from models.kernel.mempolicy import iw_table

Row = list[Any]

HSTATE: Final = attrgetter(
    "nr_huge_pages",
    "free_huge_pages",
    "resv_huge_pages",
    "surplus_huge_pages",
    "nr_overcommit_huge_pages",
    "max_huge_pages",
    "next_nid_to_alloc",
    "next_nid_to_free",
)
FOLIO: Final = attrgetter(
    "canon",
    "nid",
    "hpg",
    "refcount",
    "mapcount",
    "pincount",
    "locked",
    "uptodate",
    "dirty",
    "anon_exclusive",
    "hwpoison",
    "raw_hwp",
    "data",
    "index",
)
OWNERS: Final = attrgetter("subpool", "_hugetlb_cgroup", "_hugetlb_cgroup_rsvd", "memcg", "mapping")
NO_OWNERS: Final = (None,) * 5
SUBPOOL: Final = attrgetter("count", "max_hpages", "used_hpages", "min_hpages", "rsv_hpages")
INODE: Final = attrgetter("i_ino", "i_size", "i_blocks", "i_nlink", "i_count")
TASK: Final = attrgetter("name", "cpu", "il_prev", "il_weight", "mems_allowed")
VMA: Final = attrgetter("vm_start", "vm_end", "vm_flags", "vm_pgoff", "vm_private_flags")
RESV: Final = attrgetter("adds_in_progress", "region_cache_count", "refs", "pages_per_hpage")
POLICY: Final = attrgetter("mode", "flags", "nodes", "home_node")
#: Before what may be absent or of varying length.
MARK: Final = "|"
END: Final = "]"
CHARGED: Final = "$"

canon_next: int
subpools_seen: int
cgroups_seen: int


@static_data
def digest_init() -> None:
    """Nothing has been seen."""
    global canon_next, subpools_seen, cgroups_seen
    canon_next = 0
    subpools_seen = 0
    cgroups_seen = 0


def canon_of(folio: Folio | None) -> int:
    """The number of a folio; -1 for none."""
    global canon_next
    if folio is None:
        return -1
    number = folio.canon
    if number < 0:
        number = folio.canon = canon_next
        canon_next += 1
    return number


def number_all() -> None:
    """Give a number to all that has none, in the order of the digest."""
    digest_state()


def digest_user() -> Hashable:
    """What user space can read follows from the state: pools, files, limits and mapped words."""
    global canon_next
    out: Row = []
    for h in hstates:
        out += HSTATE(h)[:5]
        out += h.nr_huge_pages_node
        out += h.free_huge_pages_node
        out += h.surplus_huge_pages_node
    for name in sorted(mounts):
        spool = mounts[name].spool
        if spool is not None:
            out += (name, spool.max_hpages)
            out.append(-1 if spool.max_hpages == -1 else spool.max_hpages - spool.used_hpages)
        else:
            out += (name, MARK)
    for name in sorted(machine.tasks):
        task = machine.tasks[name]
        if task.alive:
            mm = task.mm
            out += (MARK, task.name, mm.hugetlb_usage)
            for fd in sorted(task.fds):
                inode = task.fds[fd].f_inode
                out += (fd, inode.i_size, inode.i_blocks, inode.i_nlink)
            out.append(MARK)
            table = mm.page_table
            for address in sorted(table):
                folio = table[address].pte.folio
                if folio is not None:
                    out += (address, folio.data)
    if root_h_cgroup is not None and cgroup_root.children:
        for cgroup in cgroup_walk(cgroup_root):
            if cgroup.parent is not None and cgroup.hugetlb is not None:
                out += (MARK, cgroup.name)
                digest_counters(out, cgroup.hugetlb.cgroup)
                digest_memory(out, cgroup.memory)
    return tuple(out)


def digest_state() -> Hashable:
    """The whole state."""
    global canon_next, subpools_seen, cgroups_seen
    out: Row = []
    for name in sorted(mounts):
        spool = mounts[name].spool
        if spool is not None:
            if spool.canon < 0:
                spool.canon = subpools_seen
                subpools_seen += 1
            out.append(name)
            out += SUBPOOL(spool)
        else:
            out.append(name)
    if root_h_cgroup is not None:
        digest_cgroups(out)
    for h in hstates:
        out += HSTATE(h)
        out += h.nr_huge_pages_node
        out += h.free_huge_pages_node
        out += h.surplus_huge_pages_node
        for head in (*h.hugepage_freelists, h.hugepage_activelist):
            link = head.next
            while link is not head:
                folio: Any = link.entry
                if folio.canon < 0:
                    folio.canon = canon_next
                    canon_next += 1
                out += FOLIO(folio)
                owners = OWNERS(folio)
                if owners != NO_OWNERS:
                    digest_owners(out, owners)
                link = link.next
            out.append(END)
    for name in sorted(mounts):
        digest_inodes(out, mounts[name])
    for kernel_sb in hugetlbfs_vfsmount:
        if kernel_sb is not None and kernel_sb.inodes:
            digest_inodes(out, kernel_sb)
    tasks = machine.tasks
    for name in sorted(tasks):
        if tasks[name].alive:
            digest_task(out, tasks[name])
    out += [zone.free.bit_count() for zone in zones]
    if iw_table is not None:
        out.append(tuple(iw_table))
    if machine.fail:
        out.append(tuple(sorted(machine.fail.items())))
    return tuple(out)


def digest_owners(out: Row, owners: tuple[Any, ...]) -> None:
    """What a folio in use belongs to."""
    subpool, usage, rsvd, memcg, mapping = owners
    out += (
        MARK,
        -1 if subpool is None else subpool.canon,
        -1 if usage is None else usage.canon,
        -1 if rsvd is None else rsvd.canon,
        memcg is not None,
        0 if mapping is None else 1 if mapping.__class__ is AnonVma else 2,
    )


def digest_counters(out: Row, h_cg: Any) -> None:
    """Usage and limits of a cgroup for each hstate, and its events."""
    for usage, rsvd in zip(h_cg.hugepage, h_cg.rsvd_hugepage, strict=True):
        out += (usage.usage, usage.max, rsvd.usage, rsvd.max)
    out += h_cg.events
    out += h_cg.events_local
    for used in h_cg.nodeinfo:
        out += used


def digest_cgroups(out: Row) -> None:
    """The cgroups: the root's counters, then each directory's."""
    global cgroups_seen
    root: Any = root_h_cgroup
    if root.canon < 0:
        root.canon = cgroups_seen
        cgroups_seen += 1
    digest_counters(out, root)
    if cgroup_root.children:
        for cgroup in cgroup_walk(cgroup_root):
            if cgroup.parent is not None and cgroup.hugetlb is not None:
                h_cg = cgroup.hugetlb.cgroup
                if h_cg.canon < 0:
                    h_cg.canon = cgroups_seen
                    cgroups_seen += 1
                out += (cgroup.name, cgroup.hugetlb.refcount, cgroup.hugetlb.online)
                digest_counters(out, h_cg)
                memory = cgroup.memory
                if memory is not None:
                    out.append(memory.refcount)
                    digest_memory(out, memory)
    out.append(MARK)


def digest_memory(out: Row, css: Any) -> None:
    """What a memory cgroup is charged, and its events."""
    if css is not None:
        memcg = css.cgroup
        out += (memcg.memory.usage, memcg.events_max, memcg.events_max_local)


def digest_inodes(out: Row, sb: Any) -> None:
    """The inodes of a mount with their pages and reservation maps."""
    out.append(sb.name)
    root = sb.s_root
    for inode in sb.inodes:
        if inode is root:
            continue
        out += INODE(inode)
        mapping = inode.i_mapping
        out.append(len(mapping.i_mmap))
        pages = mapping.pages
        if pages:
            for index in sorted(pages):
                out += (index, canon_of(pages[index]))
        out.append(MARK)
        resv = inode.resv_map
        if resv is not None:
            digest_resv(out, resv)


def digest_resv(out: Row, resv: ResvMap) -> None:
    """A reservation map."""
    head = resv.regions
    link = head.next
    while link is not head:
        region: Any = link.entry
        css = region.css
        if css is None and region.reservation_counter is None:
            out += (region.from_, region.to)
        else:
            out += (
                CHARGED,
                region.from_,
                region.to,
                -1 if css is None else css.cgroup.canon,
                region.reservation_counter is not None,
            )
        link = link.next
    out.append(MARK)
    out += RESV(resv)
    if resv.css is not None or resv.reservation_counter is not None:
        out += (
            CHARGED,
            -1 if resv.css is None else resv.css.cgroup.canon,
            resv.reservation_counter is not None,
        )


def digest_task(out: Row, task: Any) -> None:
    """A process: its policy, files, vmas and page table."""
    mm = task.mm
    out += TASK(task)
    out += (mm.hugetlb_usage, mm.pinned, "/" if task.cgroup is None else task.cgroup.name)
    if task.mempolicy is not None:
        out += POLICY(task.mempolicy)
    fds = task.fds
    for fd in sorted(fds):
        inode = fds[fd].f_inode
        out += (fd, inode.i_sb.name, inode.i_ino)
    for vma in mm.vmas:
        out += VMA(vma)
        file = vma.vm_file
        if file is not None:
            inode = file.f_inode
            out += (inode.i_sb.name, inode.i_ino)
        if vma.vm_policy is not None:
            out += ("policy", *POLICY(vma.vm_policy))
        if vma.uffd is not None:
            out.append("userfaultfd")
        data = vma.vm_private_data
        if data is not None:
            if data.__class__ is ResvMap:
                digest_resv(out, data)
            elif data.__class__ is VmaLock:
                out.append(data.refs)
        out.append(MARK)
    out.append(END)
    table = mm.page_table
    if table:
        for address in sorted(table):
            folio, write, dirty, _, uffd_wp, special = table[address].pte
            if folio is not None or special:
                out += (
                    address,
                    -1 if folio is None else folio.canon,
                    write,
                    dirty,
                    uffd_wp,
                    special,
                )
