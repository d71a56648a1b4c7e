"""The key of a state: what the explorer remembers states by. States of one key behave alike.

The digest shows what is compared; the key adds what decides later behaviour and is not compared
(which file a descriptor names, which mapping a name stands for, the order of reverse mappings),
and takes away history: folios, inodes, subpools and cgroups are renumbered by where they stand, the
words in pages become equality classes, events that are only counted, cursors of policies that a
task does not have, and what free pages held are left out. A test holds it against the whole heap:
two states of one key have the same heap, apart from what that test lists with a reason.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from models.hugetlb.structs import HugetlbCgroup, ResvMap
from models.kernel.mempolicy import MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE
from models.kernel.structs import AddressSpace, AnonVma

if TYPE_CHECKING:
    from equivalence.subjects.hugetlb.digest import canon_next, digest_state
    from equivalence.subjects.hugetlb.observation import all_superblocks, entries_on
    from models.hugetlb.hstate import hstates
    from models.kernel.buddy import zones
    from models.kernel.cgroup import cgroup_root, cgroup_walk
    from models.kernel.machine import machine
    from models.kernel.shm import shm_ids, shm_orphans

#: Policies that use a task's cursor.
INTERLEAVING: Final = frozenset({MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE})
MEMORY: Final = attrgetter("memory")
HIDDEN_INODE: Final = attrgetter("i_flags", "i_mode", "seals")
HIDDEN_SUPER: Final = attrgetter("free_inodes", "max_inodes", "s_active")
HIDDEN_FILE: Final = attrgetter("f_count", "f_mode", "name")
HIDDEN_SEGMENT: Final = attrgetter("name", "segsz", "nattch", "dest")


def key_state() -> Hashable:
    """The state without history; states of one key behave alike for every operation."""
    global canon_next
    folios = all_folios()
    saved = [(folio, folio.canon, folio.data, folio.index) for folio in folios]
    inodes = [inode for sb in all_superblocks() for inode in sb.inodes]
    saved_inodes = [(inode, inode.i_ino) for inode in inodes]
    owners = all_owners(folios)
    saved_owners = [(owner, owner.canon) for owner in owners]
    tasks = list(machine.tasks.values())
    saved_tasks = [(task, task.il_prev, task.il_weight) for task in tasks]
    groups = [owner for owner in owners if owner.__class__ is HugetlbCgroup]
    saved_groups = [(group, group.events, group.events_local) for group in groups]
    memories = [css.cgroup for css in map(MEMORY, cgroup_walk(cgroup_root)) if css is not None]
    saved_memories = [(memcg, memcg.events_max, memcg.events_max_local) for memcg in memories]
    before = canon_next
    for folio in free_folios():
        # Cleared, and given a place, before anybody sees it.
        folio.data = folio.index = 0
    classes: dict[int, int] = {0: 0}
    for number, folio in enumerate(folios):
        folio.canon = number
        folio.data = classes.setdefault(folio.data, len(classes))
    for task in tasks:
        if task.mempolicy is None or task.mempolicy.mode not in INTERLEAVING:
            # Set when such a policy is.
            task.il_prev = task.il_weight = 0
    for group in groups:
        group.events = group.events_local = []
    for memcg in memories:
        memcg.events_max = memcg.events_max_local = 0
    for number, inode in enumerate(inodes):
        inode.i_ino = number
    for number, owner in enumerate(owners):
        owner.canon = number
    canon_next = len(folios)
    key = digest_state(), hidden_state(folios, inodes), hidden_cgroups(owners)
    for folio, canon, data, index in saved:
        folio.canon = canon
        folio.data = data
        folio.index = index
    for task, il_prev, il_weight in saved_tasks:
        task.il_prev, task.il_weight = il_prev, il_weight
    for group, events, local in saved_groups:
        group.events, group.events_local = events, local
    for memcg, events, local in saved_memories:
        memcg.events_max, memcg.events_max_local = events, local
    for inode, ino in saved_inodes:
        inode.i_ino = ino
    for owner, canon in saved_owners:
        owner.canon = canon
    canon_next = before
    return key


def free_folios() -> list[Any]:
    """The folios on free lists."""
    return [folio for h in hstates for head in h.hugepage_freelists for folio in entries_on(head)]


def all_folios() -> list[Any]:
    """Every folio that the pools, the page cache and the page tables know, in that order."""
    found: dict[int, Any] = {}
    for h in hstates:
        for head in (*h.hugepage_freelists, h.hugepage_activelist):
            for folio in entries_on(head):
                found[id(folio)] = folio
    for sb in all_superblocks():
        for inode in sb.inodes:
            for folio in inode.i_mapping.pages.values():
                found[id(folio)] = folio
    for task in machine.tasks.values():
        for slot in task.mm.page_table.values():
            if slot.pte.folio is not None:
                found[id(slot.pte.folio)] = slot.pte.folio
    return list(found.values())


def all_owners(folios: Iterable[Any]) -> list[Any]:
    """Every subpool and hugetlb cgroup that mounts, the cgroup tree, folios and maps know."""
    found: dict[int, Any] = {}
    for sb in all_superblocks():
        found[id(sb.spool)] = sb.spool
    for cgroup in cgroup_walk(cgroup_root):
        if cgroup.hugetlb is not None:
            found[id(cgroup.hugetlb.cgroup)] = cgroup.hugetlb.cgroup
    for folio in folios:
        for owner in (folio.subpool, folio._hugetlb_cgroup, folio._hugetlb_cgroup_rsvd):
            found[id(owner)] = owner
    for resv in all_maps():
        regions: list[Any] = entries_on(resv.regions)
        for charged in (resv, *regions):
            if charged.css is not None:
                found[id(charged.css.cgroup)] = charged.css.cgroup
    found.pop(id(None), None)
    return list(found.values())


def all_maps() -> list[Any]:
    """Every reservation map."""
    maps = [inode.resv_map for sb in all_superblocks() for inode in sb.inodes]
    maps += [
        vma.vm_private_data
        for task in machine.tasks.values()
        for vma in task.mm.vmas
        if vma.vm_private_data.__class__ is ResvMap
    ]
    return [resv for resv in maps if resv is not None]


def hidden_state(folios: list[Any], inodes: list[Any]) -> Hashable:
    """What decides later behaviour and is in no digest."""
    out: list[Any] = []
    files: dict[int, int] = {}
    anons: dict[int, int] = {}
    vmas: dict[int, int] = {}
    for task in machine.tasks.values():
        out += (task.name, task.alive, task.mm.mm_users)
        for name, mapping in task.maps.items():
            out.append(name)
            out += mapping
        for name, file in task.fds.items():
            out += (name, task.fd_numbers.get(name))
            hidden_file(out, files, file)
        for vma in task.mm.vmas:
            vmas[id(vma)] = len(vmas)
            hidden_vma(out, files, anons, vma)
        if machine.effects is not None:
            # Empty entries are locked as well, which is compared then.
            out += sorted(task.mm.page_table)
        for name, pinned in task.pins.items():
            out += (name, pinned.address, pinned.length)
            out += [folio.canon for folio in pinned.pages]
        out.append("|")
    for sb in all_superblocks():
        out += HIDDEN_SUPER(sb)
        out += [(name, inode.i_ino) for name, inode in sb.names.items()]
        out.append(-1 if sb.spool is None else sb.spool.canon)
    for inode in inodes:
        out += HIDDEN_INODE(inode)
        out += [vmas.get(id(vma), -1) for vma in inode.i_mapping.i_mmap]
        out.append("|")
    for segment in (*shm_ids.values(), *shm_orphans):
        out += HIDDEN_SEGMENT(segment)
        if segment.shm_file is not None:
            hidden_file(out, files, segment.shm_file)
    gigantic = len(hstates) > 1
    for folio in folios:
        owner = folio.mapping
        if owner.__class__ is AnonVma:
            hidden_anon(out, anons, owner)
        elif owner.__class__ is AddressSpace:
            out.append(-1 if owner.host is None else owner.host.i_ino)
        if gigantic:
            out.append(folio.pfn)
    for h in hstates:
        out.append(h.demote_order)
    if gigantic:
        # Only where blocks of two sizes are taken does it matter which frames are free.
        out += [zone.free for zone in zones]
    for cgroup in cgroup_walk(cgroup_root):
        memory = cgroup.memory
        out += (cgroup.name, cgroup.controls)
        if memory is not None:
            out += (memory.refcount, memory.online, memory.cgroup.memory.usage)
            out.append(memory.cgroup.memory.max)
    out += sorted(machine.warned_once)
    out += sorted(machine.frames.items())
    return tuple(out)


def hidden_cgroups(owners: list[Any]) -> Hashable:
    """Counters of cgroups, those of removed ones too, and what keeps them."""
    out: list[Any] = []
    for owner in owners:
        if owner.__class__ is HugetlbCgroup:
            out += (owner.canon, owner.css.refcount, owner.css.online)
            out.append(-1 if owner.parent is None else owner.parent.canon)
            for counter in (*owner.hugepage, *owner.rsvd_hugepage):
                out += (counter.usage, counter.max)
    return tuple(out)


def hidden_file(out: list[Any], files: dict[int, int], file: Any) -> None:
    """An open file by its number; at first sight also what it is."""
    number = files.get(id(file))
    if number is None:
        number = files[id(file)] = len(files)
        out += HIDDEN_FILE(file)
        out.append(file.f_inode.i_ino)
        data = file.private_data
        if data is not None:
            out.append(data.shp.name)
            hidden_file(out, files, data.file)
    out.append(number)


def hidden_vma(out: list[Any], files: dict[int, int], anons: dict[int, int], vma: Any) -> None:
    """A vma's file and its places in reverse mappings."""
    if vma.vm_file is not None:
        hidden_file(out, files, vma.vm_file)
    out.append(vma.name)
    if vma.anon_vma is not None:
        hidden_anon(out, anons, vma.anon_vma)
    for anon in vma.anon_vma_chain:
        hidden_anon(out, anons, anon)


def hidden_anon(out: list[Any], anons: dict[int, int], anon: Any) -> None:
    """An anon_vma by its number."""
    number = anons.get(id(anon))
    if number is None:
        number = anons[id(anon)] = len(anons)
    out.append(-2 - number)
