"""The state as one tuple: what two systems are compared by after every operation.

It holds what :mod:`equivalence.subjects.hugetlb.observation` shows, in a fixed order and without
names, a tuple for each structure. A marker behind each part of varying length keeps states of equal
content but other structure apart. A test holds both views against each other.

Comparing must cost little beside the operations themselves, so members are named one by one: the
interpreter reads a member that is written out in a fifth of the time that ``attrgetter`` takes.

Folios, subpools and cgroups get their numbers here, when they are first seen after an operation.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from models.hugetlb.structs import ResvMap, VmaLock
from models.kernel.port import static_data
from models.kernel.structs import AnonVma, Folio

if TYPE_CHECKING:
    from models.hugetlb.cgroup import root_h_cgroup
    from models.hugetlb.hstate import hstates
    from models.hugetlb.inode import hugetlbfs_vfsmount
    from models.hugetlb.structs import HState, HugetlbCgroup
    from models.kernel.buddy import zones
    from models.kernel.cgroup import cgroup_root, cgroup_walk
    from models.kernel.fs import mounts
    from models.kernel.machine import machine
    from models.kernel.mempolicy import iw_table
    from models.kernel.page_counter import CgroupSubsysState
    from models.kernel.structs import SuperBlock

Row = list[Any]

#: Behind a part of varying length.
END: Final = "]"
#: Before what a mapping may have.
FILE: Final = "file"
POLICY: Final = "policy"

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
    out: Row = []
    for h in hstates:
        out += (
            h.nr_huge_pages,
            h.free_huge_pages,
            h.resv_huge_pages,
            h.surplus_huge_pages,
            h.nr_overcommit_huge_pages,
        )
        out += h.nr_huge_pages_node
        out += h.free_huge_pages_node
        out += h.surplus_huge_pages_node
    for name in sorted(mounts):
        spool = mounts[name].spool
        if spool is None:
            out.append((name, 0, 0))
        else:
            high = spool.max_hpages
            out.append((name, high, -1 if high == -1 else high - spool.used_hpages))
    for name in sorted(machine.tasks):
        task = machine.tasks[name]
        if task.alive:
            mm = task.mm
            out.append((name, mm.hugetlb_usage))
            for fd in sorted(task.fds):
                inode = task.fds[fd].f_inode
                out.append((fd, inode.i_size, inode.i_blocks, inode.i_nlink))
            out.append(END)
            table = mm.page_table
            for address in sorted(table):
                folio = table[address].pte.folio
                if folio is not None:
                    out += (address, folio.data)
    if root_h_cgroup is not None and cgroup_root.children:
        for cgroup in cgroup_walk(cgroup_root):
            if cgroup.parent is not None and cgroup.hugetlb is not None:
                out += (END, cgroup.name)
                digest_counters(out, cgroup.hugetlb.cgroup)
                digest_memory(out, cgroup.memory)
    return tuple(out)


def digest_state() -> Hashable:
    """The whole state."""
    global subpools_seen
    out: Row = []
    push = out.append
    names = sorted(mounts) if len(mounts) > 1 else mounts
    for name in names:
        spool = mounts[name].spool
        if spool is None:
            push(name)
            continue
        if spool.canon < 0:
            spool.canon = subpools_seen
            subpools_seen += 1
        push(
            (
                name,
                spool.count,
                spool.max_hpages,
                spool.used_hpages,
                spool.min_hpages,
                spool.rsv_hpages,
            )
        )
    if root_h_cgroup is not None:
        digest_cgroups(out)
    for h in hstates:
        push(
            (
                h.nr_huge_pages,
                h.free_huge_pages,
                h.resv_huge_pages,
                h.surplus_huge_pages,
                h.nr_overcommit_huge_pages,
                h.max_huge_pages,
                h.next_nid_to_alloc,
                h.next_nid_to_free,
                *h.nr_huge_pages_node,
                *h.free_huge_pages_node,
                *h.surplus_huge_pages_node,
            )
        )
        digest_lists(out, h)
    for name in names:
        digest_inodes(out, mounts[name])
    for kernel_sb in hugetlbfs_vfsmount:
        if kernel_sb is not None:
            digest_inodes(out, kernel_sb)
    digest_tasks(out)
    push(tuple([zone.free.bit_count() for zone in zones]))
    if iw_table is not None:
        push(tuple(iw_table))
    if machine.fail:
        push(tuple(sorted(machine.fail.items())))
    return tuple(out)


def digest_lists(out: Row, h: HState) -> None:
    """The folios on each list, front to back; with what one belongs to, if it does."""
    global canon_next
    push = out.append
    for head in (*h.hugepage_freelists, h.hugepage_activelist):
        link = head.next
        while link is not head:
            folio: Any = link.entry
            number = folio.canon
            if number < 0:
                number = folio.canon = canon_next
                canon_next += 1
            push(
                (
                    number,
                    folio.nid,
                    folio.hpg,
                    folio.refcount,
                    folio.mapcount,
                    folio.pincount,
                    folio.locked,
                    folio.uptodate,
                    folio.dirty,
                    folio.anon_exclusive,
                    folio.hwpoison or folio.raw_hwp,
                    folio.data,
                    folio.index,
                )
            )
            subpool = folio.subpool
            usage = folio._hugetlb_cgroup
            rsvd = folio._hugetlb_cgroup_rsvd
            mapping = folio.mapping
            if (
                subpool is not None
                or usage is not None
                or rsvd is not None
                or mapping is not None
                or folio.memcg is not None
            ):
                push(
                    (
                        -1 if subpool is None else subpool.canon,
                        -1 if usage is None else usage.canon,
                        -1 if rsvd is None else rsvd.canon,
                        folio.memcg is not None,
                        0 if mapping is None else 1 if mapping.__class__ is AnonVma else 2,
                    )
                )
            link = link.next
        push(END)


def digest_counters(out: Row, h_cg: HugetlbCgroup) -> None:
    """Usage and limits of a cgroup for each hstate, and its events."""
    for counters in (h_cg.hugepage, h_cg.rsvd_hugepage):
        for counter in counters:
            out += (counter.usage, counter.max)
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
    out.append(END)


def digest_memory(out: Row, css: CgroupSubsysState | None) -> None:
    """What a memory cgroup is charged, and its events."""
    if css is not None:
        memcg = css.cgroup
        out += (memcg.memory.usage, memcg.events_max, memcg.events_max_local)


def digest_inodes(out: Row, sb: SuperBlock) -> None:
    """The inodes of a mount with their pages and reservation maps."""
    push = out.append
    root = sb.s_root
    for inode in sb.inodes:
        if inode is root:
            continue
        mapping = inode.i_mapping
        pages = mapping.pages
        push(
            (
                sb.name,
                inode.i_ino,
                inode.i_size,
                inode.i_blocks,
                inode.i_nlink,
                inode.i_count,
                len(mapping.i_mmap),
                len(pages),
            )
        )
        if pages:
            for index in sorted(pages) if len(pages) > 1 else pages:
                push((index, canon_of(pages[index])))
        resv = inode.resv_map
        if resv is not None:
            digest_resv(out, resv)


def digest_resv(out: Row, resv: ResvMap) -> None:
    """A reservation map."""
    push = out.append
    head = resv.regions
    link = head.next
    while link is not head:
        region: Any = link.entry
        css = region.css
        if css is None and region.reservation_counter is None:
            push((region.from_, region.to))
        else:
            push(
                (
                    region.from_,
                    region.to,
                    -1 if css is None else css.cgroup.canon,
                    region.reservation_counter is not None,
                )
            )
        link = link.next
    css = resv.css
    push(
        (
            END,
            resv.adds_in_progress,
            resv.region_cache_count,
            resv.refs,
            resv.pages_per_hpage,
            -1 if css is None else css.cgroup.canon,
            resv.reservation_counter is not None,
        )
    )


def digest_tasks(out: Row) -> None:
    """The processes: policy, files, mappings and page table of each."""
    push = out.append
    tasks = machine.tasks
    for name in sorted(tasks):
        task = tasks[name]
        if not task.alive:
            continue
        mm = task.mm
        push(
            (
                task.name,
                task.cpu,
                task.il_prev,
                task.il_weight,
                task.mems_allowed,
                mm.hugetlb_usage,
                mm.pinned,
                "/" if task.cgroup is None else task.cgroup.name,
            )
        )
        policy = task.mempolicy
        if policy is not None:
            push((POLICY, policy.mode, policy.flags, policy.nodes, policy.home_node))
        fds = task.fds
        if fds:
            for fd in sorted(fds) if len(fds) > 1 else fds:
                inode = fds[fd].f_inode
                push((fd, inode.i_sb.name, inode.i_ino))
        for vma in mm.vmas:
            file = vma.vm_file
            data: Any = vma.vm_private_data
            kind = data.__class__
            push(
                (
                    vma.vm_start,
                    vma.vm_end,
                    vma.vm_flags,
                    vma.vm_pgoff,
                    vma.vm_private_flags,
                    vma.uffd is not None,
                    data.refs if kind is VmaLock else 0,
                )
            )
            if file is not None:
                inode = file.f_inode
                push((FILE, inode.i_sb.name, inode.i_ino))
            policy = vma.vm_policy
            if policy is not None:
                push((POLICY, policy.mode, policy.flags, policy.nodes, policy.home_node))
            if kind is ResvMap:
                digest_resv(out, data)
        table = mm.page_table
        if table:
            for address in sorted(table) if len(table) > 1 else table:
                folio, write, dirty, _, uffd_wp, special = table[address].pte
                if folio is not None:
                    push((address, folio.canon, write, dirty, uffd_wp, special))
                elif special:
                    push((address, -1, write, dirty, uffd_wp, special))
