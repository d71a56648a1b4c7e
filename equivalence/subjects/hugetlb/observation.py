"""The canonical state of a booted HugeTLB system, in named sections.

These functions are linked with the step they observe, so that they read its global variables by
name. The digest (:mod:`equivalence.subjects.hugetlb.digest`) holds the same facts without names;
what user space reads follows from them and is spelled out only here.

Folios are numbered by first use: in the order in which the lists of the hstates show them, once,
when they first appear after an operation (``Folio.canon``; a folio that went back to the buddy
allocator keeps its number for itself). Subpools and cgroups are numbered likewise, in the order of
mounts and directories. Frame numbers, addresses of structures and Python ids never appear. Sizes
are in the units of the C: pages of the hstate, bytes, or base pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.hugetlb.structs import FileRegion, ResvMap, Subpool, VmaLock
from models.kernel.lists import ListHead
from models.kernel.structs import AnonVma, Folio, Inode, VmArea

if TYPE_CHECKING:
    from equivalence.subjects.hugetlb.digest import canon_of, number_all
    from models.hugetlb.cgroup import root_h_cgroup
    from models.hugetlb.hstate import hstates
    from models.hugetlb.inode import hugetlbfs_vfsmount
    from models.hugetlb.structs import HugetlbCgroup
    from models.kernel.buddy import zones
    from models.kernel.cgroup import cgroup_root, cgroup_walk
    from models.kernel.fs import mounts
    from models.kernel.machine import machine
    from models.kernel.mempolicy import MemPolicy, iw_table

Section = tuple[Any, ...]

#: Sections in the order of the digest; the first ones are what user space can read.
USER_SECTIONS: Final = ("pool", "nodes", "statfs", "files", "status", "limits", "memcg")
SECTIONS: Final = (
    *USER_SECTIONS,
    "hstates",
    "lists",
    "folios",
    "subpools",
    "inodes",
    "tasks",
    "vmas",
    "page_tables",
    "cgroups",
    "memory",
)

# ---- what user space can read ----


def section_pool() -> Section:
    """sysfs: nr_hugepages, free, resv, surplus and overcommit of each hstate."""
    return tuple(
        [
            (
                h.name,
                h.nr_huge_pages,
                h.free_huge_pages,
                h.resv_huge_pages,
                h.surplus_huge_pages,
                h.nr_overcommit_huge_pages,
            )
            for h in hstates
        ]
    )


def section_nodes() -> Section:
    """sysfs: nr, free and surplus of each node."""
    return tuple(
        [
            (
                tuple(h.nr_huge_pages_node),
                tuple(h.free_huge_pages_node),
                tuple(h.surplus_huge_pages_node),
            )
            for h in hstates
        ]
    )


def section_statfs() -> Section:
    """statfs(2) of each mount: f_blocks, and f_bfree (equal to f_bavail)."""
    rows = []
    for name in sorted(mounts):
        spool = mounts[name].spool
        if spool is None:
            rows.append((name, 0, 0))
        else:
            rows.append((name, spool.max_hpages, free_of_subpool(spool)))
    return tuple(rows)


def free_of_subpool(spool: Subpool) -> int:
    """What statfs(2) calls free in a subpool."""
    if spool.max_hpages == -1:
        return -1
    return spool.max_hpages - spool.used_hpages


def section_files() -> Section:
    """fstat(2) of each open file: size, blocks, links."""
    rows = []
    for name, task in machine.tasks.items():
        if task.alive and task.fds:
            for fd in sorted(task.fds):
                inode = task.fds[fd].f_inode
                rows.append((name, fd, inode.i_size, inode.i_blocks, inode.i_nlink))
    rows.sort()
    return tuple(rows)


def section_status() -> Section:
    """HugetlbPages of /proc/PID/status, in base pages; and the words at the mapped pages."""
    return tuple(
        sorted(
            [
                (
                    name,
                    task.mm.hugetlb_usage,
                    tuple(
                        sorted(
                            [
                                (address, slot.pte.folio.data)
                                for address, slot in task.mm.page_table.items()
                                if slot.pte.folio is not None
                            ]
                        )
                    ),
                )
                for name, task in machine.tasks.items()
                if task.alive
            ]
        )
    )


def section_limits() -> Section:
    """The control files of each cgroup below the root: usage, limits and events of each hstate."""
    if root_h_cgroup is None or not cgroup_root.children:
        return ()
    rows = []
    for cgroup in cgroup_walk(cgroup_root):
        if cgroup.parent is not None and cgroup.hugetlb is not None:
            h_cg: HugetlbCgroup = cgroup.hugetlb.cgroup
            rows.append((cgroup.name, *counters_of(h_cg)))
    return tuple(rows)


def counters_of(h_cg: HugetlbCgroup) -> Section:
    """Of each hstate: usage and limit, reserved usage and limit, events, use by node."""
    return tuple(
        [
            (
                c.usage,
                c.max,
                r.usage,
                r.max,
                h_cg.events[i],
                h_cg.events_local[i],
                tuple([used[i] for used in h_cg.nodeinfo]),
            )
            for i, (c, r) in enumerate(zip(h_cg.hugepage, h_cg.rsvd_hugepage, strict=True))
        ]
    )


def section_memcg() -> Section:
    """memory.current (base pages) and memory.events of each cgroup below the root."""
    rows = []
    for cgroup in cgroup_walk(cgroup_root):
        if cgroup.parent is not None and cgroup.memory is not None:
            memcg = cgroup.memory.cgroup
            rows.append((cgroup.name, memcg.memory.usage, memcg.events_max, memcg.events_max_local))
    return tuple(rows)


# ---- what only the kernel sees ----


def section_hstates() -> Section:
    """max_huge_pages and the two node cursors of each hstate."""
    return tuple([(h.max_huge_pages, h.next_nid_to_alloc, h.next_nid_to_free) for h in hstates])


def numbers_on(head: ListHead[Folio]) -> tuple[int, ...]:
    """The folios on a list, front to back."""
    if head.next is head:
        return ()
    numbers = []
    link = head.next
    while link is not head:
        folio = link.entry
        assert folio is not None
        numbers.append(folio.canon)
        link = link.next
    return tuple(numbers)


def section_lists() -> Section:
    """Of each hstate: the free list of each node in its order, and the active list."""
    return tuple(
        [
            (
                tuple([numbers_on(head) for head in h.hugepage_freelists]),
                numbers_on(h.hugepage_activelist),
            )
            for h in hstates
        ]
    )


def section_folios() -> dict[str, Any]:
    """Every folio of the pools: where it is, its flags, counts, and what it is charged to.

    Its fields are named here and at once: there may be hundreds of folios.
    """
    named = {}
    for h in hstates:
        for head in (*h.hugepage_freelists, h.hugepage_activelist):
            link = head.next
            while link is not head:
                folio = link.entry
                assert folio is not None
                mapping = folio.mapping
                named[str(folio.canon)] = {
                    "nid": folio.nid,
                    "hpg": folio.hpg,
                    "refcount": folio.refcount,
                    "mapcount": folio.mapcount,
                    "pincount": folio.pincount,
                    "flags": {
                        "locked": folio.locked,
                        "uptodate": folio.uptodate,
                        "dirty": folio.dirty,
                        "anon_exclusive": folio.anon_exclusive,
                    },
                    "hwpoison": folio.hwpoison or folio.raw_hwp,
                    "data": folio.data,
                    "subpool": name_of_subpool(folio.subpool),
                    "hugetlb_cgroup": name_of_cgroup(folio._hugetlb_cgroup),
                    "hugetlb_cgroup_rsvd": name_of_cgroup(folio._hugetlb_cgroup_rsvd),
                    "memcg": folio.memcg is not None,
                    "mapping": ""
                    if mapping is None
                    else "anon"
                    if mapping.__class__ is AnonVma
                    else "file",
                    "index": folio.index,
                }
                link = link.next
    return named


def name_of_subpool(spool: Subpool | None) -> str:
    """A subpool's number and the mount that it belongs to, as long as that is there."""
    if spool is None:
        return ""
    for name, sb in mounts.items():
        if sb.spool is spool:
            return f"{name}#{spool.canon}"
    return f"unmounted#{spool.canon}"


def name_of_cgroup(h_cg: HugetlbCgroup | None) -> str:
    """A cgroup's number and its name, as long as it has one."""
    if h_cg is None:
        return ""
    for cgroup in cgroup_walk(cgroup_root):
        if cgroup.hugetlb is not None and cgroup.hugetlb.cgroup is h_cg:
            return f"{cgroup.name or '/'}#{h_cg.canon}"
    return f"removed#{h_cg.canon}"


def section_subpools() -> Section:
    """Of each mount: the subpool's count, limits, pages used and pages reserved."""
    rows = []
    for name in sorted(mounts):
        spool = mounts[name].spool
        if spool is not None:
            rows.append(
                (
                    name,
                    spool.count,
                    spool.max_hpages,
                    spool.used_hpages,
                    spool.min_hpages,
                    spool.rsv_hpages,
                )
            )
    return tuple(rows)


def regions_of(resv: ResvMap) -> Section:
    """A reservation map: regions, additions in progress, cached entries, references, uncharging."""
    regions = []
    link = resv.regions.next
    while link is not resv.regions:
        region = link.entry
        assert isinstance(region, FileRegion)
        css = region.css
        charged = "" if css is None else name_of_cgroup(css.cgroup)
        regions.append((region.from_, region.to, charged, region.reservation_counter is not None))
        link = link.next
    css = resv.css
    return (
        tuple(regions),
        resv.adds_in_progress,
        resv.region_cache_count,
        resv.refs,
        "" if css is None else name_of_cgroup(css.cgroup),
        resv.reservation_counter is not None,
        resv.pages_per_hpage,
    )


def section_inodes() -> Section:
    """Every inode, linked or not: size, blocks, counts, page cache and reservation map."""
    rows = []
    for sb in all_superblocks():
        for inode in sb.inodes:
            if inode is sb.s_root:
                continue
            pages = inode.i_mapping.pages
            rows.append(
                (
                    sb.name,
                    inode.i_ino,
                    inode.i_size,
                    inode.i_blocks,
                    inode.i_nlink,
                    inode.i_count,
                    tuple(sorted([(index, canon_of(folio)) for index, folio in pages.items()]))
                    if pages
                    else (),
                    () if inode.resv_map is None else regions_of(inode.resv_map),
                    len(inode.i_mapping.i_mmap),
                )
            )
    return tuple(rows)


def all_superblocks() -> list[Any]:
    """Every mount by name, then the kernel's own ones that memfd and SysV shared memory use."""
    kernel = [sb for sb in hugetlbfs_vfsmount if sb is not None]
    return [mounts[name] for name in sorted(mounts)] + kernel


def policy_of(policy: MemPolicy | None) -> Section:
    """Mode, flags and nodes of a memory policy."""
    return () if policy is None else (policy.mode, policy.flags, policy.nodes, policy.home_node)


def section_tasks() -> Section:
    """Every process: CPU, policy, interleaving, allowed nodes, cgroup."""
    return tuple(
        sorted(
            [
                (
                    name,
                    task.cpu,
                    policy_of(task.mempolicy),
                    task.il_prev,
                    task.il_weight,
                    task.mems_allowed,
                    "/" if task.cgroup is None else task.cgroup.name,
                    task.mm.pinned,
                )
                for name, task in machine.tasks.items()
                if task.alive
            ]
        )
    )


def name_of_inode(inode: Inode) -> tuple[str, int]:
    """An inode by its mount and number."""
    return inode.i_sb.name, inode.i_ino


def section_vmas() -> Section:
    """Every huge vma: range, flags, file, policy, and its reservation map or vma lock.

    A private map is shown with each vma that shares it, and ``refs`` tells how many do.
    """
    rows: list[Section] = []
    for name, task in machine.tasks.items():
        if task.alive:
            rows += [(name, *vma_row(vma)) for vma in task.mm.vmas]
    rows.sort(key=vma_order)
    return tuple(rows)


def vma_order(row: Section) -> tuple[str, int]:
    """Rows of vmas go by process and address."""
    return row[0], row[1]


def vma_row(vma: VmArea) -> Section:
    """What is shown of one vma."""
    data = vma.vm_private_data
    return (
        vma.vm_start,
        vma.vm_end,
        vma.vm_flags,
        vma.vm_pgoff,
        vma.vm_private_flags,
        () if vma.vm_file is None else name_of_inode(vma.vm_file.f_inode),
        policy_of(vma.vm_policy),
        vma.uffd is not None,
        regions_of(data) if isinstance(data, ResvMap) else (),
        data.refs if isinstance(data, VmaLock) else 0,
    )


def section_page_tables() -> Section:
    """Every entry that is not empty: address, folio, and its bits."""
    rows = []
    for name, task in machine.tasks.items():
        if task.alive:
            for address, slot in task.mm.page_table.items():
                pte = slot.pte
                if pte.folio is not None or pte.special:
                    rows.append(
                        (
                            name,
                            address,
                            canon_of(pte.folio),
                            pte.write,
                            pte.dirty,
                            pte.uffd_wp,
                            pte.special,
                        )
                    )
    rows.sort()
    return tuple(rows)


def section_cgroups() -> Section:
    """The root's counters, and how often each cgroup's state is held."""
    if root_h_cgroup is None:
        return ()
    rows: list[Section] = [counters_of(root_h_cgroup)]
    if cgroup_root.children:
        rows += [
            (
                cgroup.name,
                cgroup.hugetlb.refcount,
                cgroup.hugetlb.online,
                0 if cgroup.memory is None else cgroup.memory.refcount,
            )
            for cgroup in cgroup_walk(cgroup_root)
            if cgroup.parent is not None and cgroup.hugetlb is not None
        ]
    return tuple(rows)


def section_memory() -> Section:
    """Free memory of each node in frames of 2 MiB, weights of interleaving, failures to come."""
    return (
        tuple([zone.free.bit_count() for zone in zones]),
        None if iw_table is None else tuple(iw_table),
        tuple(sorted(machine.fail.items())),
    )


# ---- names for the fields ----

#: Section -> names of the fields of a row; ``*`` in front: the row's first fields, its key.
FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "pool": ("*hstate", "nr", "free", "resv", "surplus", "overcommit"),
    "nodes": ("nr", "free", "surplus"),
    "statfs": ("*mount", "f_blocks", "f_bfree"),
    "files": ("*proc", "*fd", "size", "blocks", "nlink"),
    "status": ("*proc", "hugetlb_pages", "words"),
    "memcg": ("*cgroup", "current", "events", "events.local"),
    "hstates": ("max_huge_pages", "next_nid_to_alloc", "next_nid_to_free"),
    "lists": ("hugepage_freelists", "hugepage_activelist"),
    "subpools": ("*mount", "count", "max_hpages", "used_hpages", "min_hpages", "rsv_hpages"),
    "inodes": (
        "*mount",
        "*ino",
        "i_size",
        "i_blocks",
        "i_nlink",
        "i_count",
        "pages",
        "resv_map",
        "mappings",
    ),
    "tasks": (
        "*proc",
        "cpu",
        "mempolicy",
        "il_prev",
        "il_weight",
        "mems_allowed",
        "cgroup",
        "pinned",
    ),
    "vmas": (
        "*proc",
        "*start",
        "end",
        "flags",
        "pgoff",
        "resv_flags",
        "file",
        "policy",
        "userfaultfd",
        "resv_map",
        "vma_lock_refs",
    ),
    "page_tables": ("*proc", "*address", "folio", "write", "dirty", "uffd_wp", "special"),
}
#: Section -> how many fields are the key, and the names of the others.
SHAPES: Final = {
    name: (
        sum(field.startswith("*") for field in fields),
        tuple(field for field in fields if not field.startswith("*")),
    )
    for name, fields in FIELDS.items()
}
WITH_MAPS: Final = frozenset({"inodes", "vmas"})
RESV_MAP: Final = (
    "regions",
    "adds_in_progress",
    "region_cache_count",
    "refs",
    "css",
    "reservation_counter",
    "pages_per_hpage",
)
COUNTERS: Final = (
    "current",
    "max",
    "rsvd.current",
    "rsvd.max",
    "events",
    "events.local",
    "numa_stat",
)


def observe_sections() -> dict[str, Any]:
    """All sections with their fields named."""
    number_all()
    return {
        "pool": named_section("pool", section_pool()),
        "nodes": named_section("nodes", section_nodes()),
        "statfs": named_section("statfs", section_statfs()),
        "files": named_section("files", section_files()),
        "status": named_section("status", section_status()),
        "limits": named_section("limits", section_limits()),
        "memcg": named_section("memcg", section_memcg()),
        "hstates": named_section("hstates", section_hstates()),
        "lists": named_section("lists", section_lists()),
        "folios": section_folios(),
        "subpools": named_section("subpools", section_subpools()),
        "inodes": named_section("inodes", section_inodes()),
        "tasks": named_section("tasks", section_tasks()),
        "vmas": named_section("vmas", section_vmas()),
        "page_tables": named_section("page_tables", section_page_tables()),
        "cgroups": named_section("cgroups", section_cgroups()),
        "memory": named_section("memory", section_memory()),
    }


def named_section(name: str, rows: Section) -> Any:
    """One section with its fields named."""
    if name == "limits":
        return {row[0]: named_counters(row[1:]) for row in rows}
    if name == "cgroups":
        return named_cgroups(rows)
    if name == "memory":
        return {"free_frames": rows[0], "weights": rows[1], "failures": dict(rows[2])}
    keys, fields = SHAPES[name]
    if keys == 1:
        named = {str(row[0]): dict(zip(fields, row[1:], strict=True)) for row in rows}
    elif keys:
        named = {
            ".".join(map(str, row[:keys])): dict(zip(fields, row[keys:], strict=True))
            for row in rows
        }
    else:
        named = {str(i): dict(zip(fields, row, strict=True)) for i, row in enumerate(rows)}
    if name in WITH_MAPS:
        for row in named.values():
            row["resv_map"] = named_map(row["resv_map"])
    return named


def named_map(value: Section) -> Any:
    """A reservation map with its fields named."""
    return dict(zip(RESV_MAP, value, strict=True)) if value else None


def named_counters(rows: Section) -> dict[str, Any]:
    """A cgroup's counters of each hstate with their names."""
    return {str(number): dict(zip(COUNTERS, row, strict=True)) for number, row in enumerate(rows)}


def named_cgroups(rows: Section) -> dict[str, Any]:
    """The cgroups section with its fields named."""
    named: dict[str, Any] = {}
    if rows:
        named["/"] = named_counters(rows[0])
        for name, refcount, online, memory in rows[1:]:
            named[name] = {"refcount": refcount, "online": online, "memory.refcount": memory}
    return named


def entries_on(head: ListHead[Folio]) -> list[Folio]:
    """The folios on a list, front to back."""
    found = []
    link = head.next
    while link is not head:
        assert link.entry is not None
        found.append(link.entry)
        link = link.next
    return found
